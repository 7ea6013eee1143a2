"""Files of ``name:value`` lines, a credential each. Blank lines and ``#`` lines are comments.

What cannot be used is refused with file and line, and the value is never in the words: it may be a
password that somebody pasted where its hash belongs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.access.proofs import ANONYMOUS, is_name
from gateway.access.settings import AccessUnusable

FILE_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Line:
    """One credential, and where it stands."""

    place: str
    """``file:line``"""
    name: str
    value: str = field(repr=False)


def lines(path: Path, form: str) -> Iterator[Line]:
    """The credentials of a file. ``form`` shows what a line must look like. Raises
    `AccessUnusable`."""
    for number, text in enumerate(whole(path).splitlines(), start=1):
        place = f"{path}:{number}"
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        name, colon, value = text.strip().partition(":")
        if not (colon and value):
            raise AccessUnusable(f"{place}: a line is {form}")
        if name == ANONYMOUS:
            raise AccessUnusable(
                f"{place}: `{ANONYMOUS}` is whoever shows nothing: choose another name"
            )
        if not is_name(name):
            raise AccessUnusable(
                f"{place}: the name is empty, too long, or has blanks around it or characters that "
                f"cannot be printed; a line is {form}"
            )
        yield Line(place, name, value)


def whole(path: Path) -> str:
    """The text of a file of bounded size. Raises `AccessUnusable`."""
    try:
        if not path.is_file():
            raise AccessUnusable(f"{path}: there is no such file")
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise AccessUnusable(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > FILE_MAX_BYTES:
        raise AccessUnusable(f"{path}: larger than {FILE_MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AccessUnusable(f"{path}:{line}: not UTF-8") from None
