"""The reference of all keys, `deploy/configuration.md`, written from the code.

``python -m gateway.config.reference`` prints it; ``make reference`` writes it.
"""

import sys
from collections.abc import Iterator
from itertools import groupby

from gateway.config.keys import EACH, Key, all_keys, kind_of
from gateway.config.toml_text import toml_value
from gateway.config.units import SIZE_EXAMPLES, TIME_EXAMPLES

HEAD = f"""# Configuration

This page is generated from the code (`make reference`); a test sees to it that it is up to date.

Values come from, the later winning over the earlier: the defaults below, a TOML file
(`headrace serve --config FILE`), the environment (`HEADRACE__SECTION__KEY`), flags of the command
line (`headrace serve --help`).

- A size is {SIZE_EXAMPLES}.
- A time is {TIME_EXAMPLES}.
- In the environment, an array of texts is separated by commas (or a JSON array); arrays of tables
  are JSON: `HEADRACE__ACCESS__RULES='[{{"principal": "*", "rights": ["query"]}}]'`.
- Secrets are best kept in files of their own: `druid.password_file`, `druid.token_file`
  (`HEADRACE__DRUID__PASSWORD_FILE=/run/secrets/druid`). One newline at the end is left out.
- What is unknown, out of range or contradictory stops the start with exit code 78; every problem
  is told, with its file, line and column, its variable or its flag.
- `headrace config check` says whether a configuration can be used, and what of it is hardly meant.
- `headrace config show` prints the one that holds, with the source of each value and without any
  secret; `--defaults` prints a sample file with every key, `--memory` what the limits add up to.
- **Reload**: on SIGHUP (`systemctl reload headrace`) a running gateway reads its sources again and
  takes up the keys marked so, without dropping a stream. A configuration that cannot be used
  changes nothing; the log says why. Changes of other keys are named in the log and wait for a
  restart.
"""


def reference() -> str:
    """The whole page."""
    keys = all_keys().values()
    sections = groupby(keys, key=lambda key: key.path[:-1])
    return HEAD + "".join("\n".join(_section(path, list(held))) for path, held in sections)


def _section(path: tuple[str, ...], keys: list[Key]) -> Iterator[str]:
    name = ".".join(part for part in path if part != EACH)
    header = f"[[{name}]]" if EACH in path else f"[{name}]"
    yield f"\n## `{header}`\n" if path else "\n## Top level\n"
    if path:
        yield f"{' '.join(keys[0].section_doc.split())}\n"
    yield "| key, variable | value | default | reload | what it is |"
    yield "| --- | --- | --- | --- | --- |"
    for key in keys:
        reload = "yes" if key.is_reloadable else ""
        cells = (_names(key), kind_of(key), _default(key), reload, key.doc)
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"
    yield ""


def _names(key: Key) -> str:
    variable = key.variable
    return f"`{key.path[-1]}`" + (f"<br>`{variable}`" if variable is not None else "")


def _default(key: Key) -> str:
    if key.is_required:
        return "must be given"
    if key.is_secret or key.default is None:
        return ""
    default = key.default
    return f"`{toml_value(default if isinstance(default, tuple | float | int) else str(default))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("``", "`")


if __name__ == "__main__":
    sys.stdout.write(reference())
