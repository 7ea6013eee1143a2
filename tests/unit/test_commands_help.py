"""What the command line says of itself: every command in a line, each with all that it needs."""

import pytest

from gateway import cli
from tests.commands import headrace


def test_the_list_of_commands_has_a_line_of_each() -> None:
    for arguments in ((), ("--help",), ("-h",)):
        done = headrace(*arguments, settings={"COLUMNS": "100"})
        assert (done.status, done.stderr) == (0, "")
        for name in (*cli._COMMANDS, "serve"):
            lines = [line for line in done.stdout.splitlines() if line.startswith(f"│ {name} ")]
            assert len(lines) == 1
            assert lines[0].strip("│ ").removeprefix(name).strip(), f"nothing is said of {name}"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("insert",), "Exit code 0: every row is acked"),
        (("query",), "exit code 130"),
        (("tasks",), "fields are separated by tabs"),
        (("queries", "close"), "ids of queries"),
    ],
)
def test_the_help_of_a_command_holds_what_it_does_and_who_it_asks(
    command: tuple[str, ...], said: str
) -> None:
    done = headrace(*command, "--help", settings={"COLUMNS": "200"})
    assert (done.status, done.stderr) == (0, "")
    for part in (said, "Which gateway, and as whom", "HEADRACE_URL", "HEADRACE_PASSWORD_FILE"):
        assert part in done.stdout
    assert "[default: False]" not in done.stdout
