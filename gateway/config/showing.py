"""The configuration that holds, as TOML that can be loaded again, or as JSON; and the sample file.

Law: of a secret nothing is shown but where it comes from (`redaction`). A secret is a comment in
the TOML, so that what was shown never loads with stars for a password.
"""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gateway.config.keys import EACH, Key, all_keys, is_array, kind_of, section_of
from gateway.config.loading import Loaded
from gateway.config.redaction import REDACTED, is_url, without_credentials
from gateway.config.toml_text import toml_value

DEFAULT = "default"
_WIDTH = 100
_COMMENT_COLUMN = 48


def as_toml(loaded: Loaded) -> str:
    """Every key that has a value, each with where it comes from."""
    return "\n".join(_toml(loaded, loaded.config, ())) + "\n"


def as_json(loaded: Loaded) -> dict[str, Any]:
    """By key: its value (secrets redacted) and where it comes from."""
    return {
        ".".join(path): {"value": _plain(key, value), "source": source(loaded, path)}
        for path, key, value in _leaves(loaded.config, ())
    }


def source(loaded: Loaded, path: tuple[str | int, ...]) -> str:
    """``default``, or the place where the value was said."""
    place = loaded.place(path)
    if place:
        return place
    if path in (("druid", "username"), ("druid", "password")) and loaded.config.druid.username:
        return loaded.place(("druid", "url")) or DEFAULT  # the URL held them
    return DEFAULT


def _toml(loaded: Loaded, section: BaseModel, path: tuple[str, ...]) -> Iterator[str]:
    tables = []
    for name, field in type(section).model_fields.items():
        value, at = getattr(section, name), (*path, name)
        if section_of(field.annotation) is not None and not is_array(field.annotation):
            tables.append((at, value))
        else:
            yield _line(loaded, at, value)
    for at, value in tables:
        if value is not None:
            yield ""
            yield f"[{'.'.join(at)}]"
            yield from _toml(loaded, value, at)


def _line(loaded: Loaded, path: tuple[str, ...], value: Any) -> str:
    key, origin = all_keys().get(path), source(loaded, path)
    name = path[-1]
    if key is not None and key.is_secret:
        shown = "" if value is None else f": {REDACTED}, a secret"
        return _with_comment(f"# {name}{shown}", origin)
    if value is None and path == ("admin", "port"):
        value = "off"
    if value is None:
        return _with_comment(f"# {name} is not set", origin)
    return _with_comment(f"{name} = {toml_value(_plain(key, value))}", origin)


def _with_comment(text: str, comment: str) -> str:
    plain = "".join(letter if letter.isprintable() else "?" for letter in comment)
    return f"{text:<{_COMMENT_COLUMN}} # {plain}"


def _plain(key: Key | None, value: Any) -> Any:
    """As JSON and TOML have it; redacted."""
    if key is not None and key.is_secret:
        return None if value is None else REDACTED
    if key is not None and is_url(key) and isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, BaseModel):
        return {name: _plain(None, inner) for name, inner in value if inner is not None}
    if isinstance(value, tuple):
        return [_plain(None, inner) for inner in value]
    return str(value) if isinstance(value, Path) else getattr(value, "value", value)


def _leaves(
    section: BaseModel, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Key | None, Any]]:
    for name, field in type(section).model_fields.items():
        value, at = getattr(section, name), (*path, name)
        if section_of(field.annotation) is None or is_array(field.annotation):
            yield at, all_keys().get(at), value
        elif value is not None:
            yield from _leaves(value, at)


# ── the sample ──


def sample() -> str:
    """A file with every key, its default and its words, all of it commented out."""
    lines = [
        "# Headrace: every key with its default. Take the # away before those that you change,",
        "# and before the [section] they are in. Sizes may be written with a unit,",
        '# "64 MiB", and so may times, "1h".',
    ]
    table: tuple[str, ...] | None = None
    for key in all_keys().values():
        around = key.path[:-1]
        if around != table:
            table = around
            lines += ["", *_wrapped(f"# {key.section_doc.splitlines()[0]}")]
            lines += [header] if (header := _header(around)) else []
        lines += ["", *_wrapped(f"# {key.doc} ({_words(key)})"), f"#{_sample_value(key)}"]
    return "\n".join(lines) + "\n"


def _header(around: tuple[str, ...]) -> str:
    if not around:
        return ""
    name = ".".join(part for part in around if part != EACH)
    return f"#[[{name}]]" if around[-1] == EACH else f"#[{name}]"


def _words(key: Key) -> str:
    return kind_of(key) if _default(key) is not None else f"{kind_of(key)}; not set"


def _default(key: Key) -> Any:
    return None if key.is_required else key.default


def _sample_value(key: Key) -> str:
    default = _default(key)
    name = key.path[-1]
    return f"{name} =" if default is None else f"{name} = {toml_value(_plain(key, default))}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="# ", break_long_words=False)
