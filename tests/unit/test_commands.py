"""`headrace dead-letters` and `headrace batches` as processes, over a scripted admin port."""

import json
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import cli
from gateway.commands import dead_letters
from protocol.errors import NotReady
from tests.admin_port import (
    AT,
    EndlessLetters,
    Operator,
    ScriptedLetters,
    batch,
    letter,
    opened_operator,
)
from tests.commands import COLUMNS, Ended, headrace, headrace_on_a_terminal


@pytest.fixture
def operator() -> Iterator[Operator]:
    with opened_operator() as opened:
        yield opened


def letters_command(operator: Operator, *arguments: object, stdin: bytes = b"") -> Ended:
    return headrace("dead-letters", *arguments, "--admin", operator.url, stdin=stdin)


def batches_command(operator: Operator, *arguments: object) -> Ended:
    return headrace("batches", *arguments, "--admin", operator.url)


def states(letters: ScriptedLetters) -> dict[int, str]:
    return {number: each.state for number, each in letters.letters.items()}


# ── looking ──────────────────────────────────────────────────────────────────────────────────


def test_a_list_is_lines_of_fields_that_hold_no_tab_and_no_control_character(
    operator: Operator,
) -> None:
    raw = "{\t\x1b[2J\u202e é\u009b".encode()
    operator.letters.add(letter(1, channel="a\tb", offset=5, raw=raw), letter(2, state="dropped"))
    done = letters_command(operator, "list")
    row = "{\\t\\x1b[2J\\u202e é\\x9b"
    expected = ["1", "EVENTS", "a\\tb", "5", AT, "open", "40000", "it is bad", row]
    assert (done.status, done.stderr, done.fields) == (0, "", [expected])


def test_a_list_is_narrowed_and_goes_on_past_what_one_answer_holds(operator: Operator) -> None:
    operator.letters.add(*(letter(number, channel=f"c{number % 2}") for number in range(1, 2401)))
    done = letters_command(operator, "list", "--channel", "c1", "--limit", 1100, "--json")
    assert done.status == 0
    found = [json.loads(line)["id"] for line in done.stdout.splitlines()]
    assert found == list(range(1, 2200, 2))


def test_a_list_on_a_terminal_is_a_table_that_no_row_can_break(operator: Operator) -> None:
    operator.letters.add(letter(1, raw=b"[bold]\x1b[2J" + b"x" * 500))
    done = headrace_on_a_terminal("dead-letters", "list", "--admin", operator.url)
    header, line = (text.rstrip() for text in done.stdout.splitlines())
    assert header.split() == list(dead_letters.COLUMNS)
    assert line.startswith(" 1  EVENTS")
    assert "[bold]\\x1b[2Jxx" in line
    assert (len(line), line[-1], "\x1b" in done.stdout) == (COLUMNS - 2, "…", False)


def test_one_is_shown_with_all_that_is_known_of_it(operator: Operator) -> None:
    operator.letters.add(letter(1, batch="b1", line=3, tasks=2), letter(2))
    done = letters_command(operator, "show", 1)
    assert done.status == 0
    assert ["batch", "b1"] in done.fields
    assert ["channel", ""] in done.fields
    assert ["row", '{"ID":"x"}'] in done.fields
    done = letters_command(operator, "show", 1, 2, "--json")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [1, 2]


def test_an_export_is_json_lines_of_everything_that_matches(operator: Operator) -> None:
    operator.letters.add(*(letter(n, stream=f"S{n % 2}", state="retried") for n in range(1, 3001)))
    done = letters_command(operator, "export", "--stream", "S0", "--state", "all")
    found = [json.loads(line)["id"] for line in done.stdout.splitlines()]
    assert (done.status, found) == (0, list(range(2, 3001, 2)))


def test_an_export_that_breaks_is_a_failure() -> None:
    with opened_operator(letters=ScriptedLetters(breaks_at=50)) as operator:
        operator.letters.add(*(letter(number) for number in range(1, 101)))
        done = letters_command(operator, "export")
    assert (done.status, len(done.stdout.splitlines())) == (1, 32)
    assert "Input/output error" in done.stderr


def test_an_export_without_end_is_cut_where_it_is_told_to_be() -> None:
    with opened_operator(letters=EndlessLetters()) as operator:
        done = letters_command(operator, "export", "--limit", 5)
    assert (done.status, len(done.stdout.splitlines())) == (0, 5)


def test_a_reader_that_has_enough_ends_the_export_without_a_word() -> None:
    with opened_operator(letters=EndlessLetters()) as operator:
        command = [sys.executable, "-m", "gateway", "dead-letters", "export"]
        command += ["--admin", operator.url]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe) as export:
            assert export.stdout is not None
            assert export.stderr is not None
            assert json.loads(export.stdout.readline())["id"] == 1
            export.stdout.close()
            assert (export.stderr.read(), export.wait()) == (b"", 1)


# ── editing ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["option", "place", "standard input"])
def test_a_row_is_replaced_by_what_the_command_is_given(operator: Operator, how: str) -> None:
    operator.letters.add(letter(1))
    row = '{"ID":7,"NAME":"é"}'
    arguments = {"option": ["--row", row], "place": [row], "standard input": ["-"]}[how]
    done = letters_command(operator, "edit", 1, *arguments, stdin=row.encode() + b"\n")
    assert (done.status, done.stderr) == (0, "")
    assert ["row", row] in done.fields
    assert operator.letters.letters[1].raw == row.encode()


def test_without_a_row_and_without_a_terminal_an_edit_is_wrong_usage(operator: Operator) -> None:
    operator.letters.add(letter(1))
    done = letters_command(operator, "edit", 1)
    assert (done.status, done.stdout) == (2, "")
    assert "--row" in done.stderr


def test_on_a_terminal_the_editor_is_opened_on_the_row(operator: Operator, tmp_path: Path) -> None:
    operator.letters.add(letter(1))
    done = edit_with(operator, tmp_path, """text.replace('"x"', '7')""")
    assert done.status == 0, done
    assert operator.letters.letters[1].raw == b'{"ID":7}'
    assert left_behind(tmp_path) == []


def test_an_editor_that_changes_nothing_changes_nothing(operator: Operator, tmp_path: Path) -> None:
    operator.letters.add(letter(1))
    done = edit_with(operator, tmp_path, "text")
    assert (done.status, "as it was" in done.stderr) == (0, True)
    assert operator.letters.letters[1] == letter(1)
    assert left_behind(tmp_path) == []


def test_what_was_written_is_kept_where_the_stream_does_not_take_it(
    operator: Operator, tmp_path: Path
) -> None:
    operator.letters.add(letter(1))
    done = edit_with(operator, tmp_path, """text.replace('"x"', '"still wrong"')""")
    (kept,) = left_behind(tmp_path)
    assert (done.status, str(kept) in done.stderr) == (1, True)
    assert "column `ID`" in done.stderr
    assert kept.read_text() == '{"ID":"still wrong"}\n'


def edit_with(operator: Operator, folder: Path, change: str) -> Ended:
    """`edit` with an editor that makes ``change`` (an expression on ``text``)."""
    script = folder / "editor.py"
    script.write_text(
        "import pathlib, sys\n"
        "file = pathlib.Path(sys.argv[1])\n"
        "text = file.read_text()\n"
        f"file.write_text({change})\n"
    )
    (folder / "written").mkdir()
    settings = {
        "EDITOR": shlex.join([sys.executable, str(script)]),
        "TMPDIR": str(folder / "written"),
    }
    command = ("dead-letters", "edit", 1, "--admin", operator.url)
    return headrace_on_a_terminal(*command, settings=settings)


def left_behind(folder: Path) -> list[Path]:
    return list((folder / "written").iterdir())


# ── deciding ─────────────────────────────────────────────────────────────────────────────────


def test_each_is_retried_and_the_refused_are_told_apart(operator: Operator) -> None:
    operator.letters.add(letter(1, raw=b'{"ID":1}'), letter(2), letter(3, raw=b'{"ID":3}'))
    done = letters_command(operator, "retry", 1, 2, 3, 9)
    assert (done.status, done.fields) == (1, [["1", "retried"], ["3", "retried"]])
    told = done.stderr.splitlines()
    assert told[0].startswith("headrace: dead letter 2: Can't coerce")
    assert told[1] == "headrace: dead letter 9: There is no dead letter 9"
    assert operator.letters.retried == [b'{"ID":1}', b'{"ID":3}']


def test_all_that_match_are_retried(operator: Operator) -> None:
    good = b'{"ID":1}'
    operator.letters.add(letter(1, raw=good), letter(2, stream="OTHER", raw=good))
    done = letters_command(operator, "retry", "--all", "--stream", "OTHER", "--json")
    assert (done.status, json.loads(done.stdout)) == (0, {"id": 2, "outcome": "retried"})
    assert states(operator.letters) == {1: "open", 2: "retried"}


def test_all_are_dropped_only_with_yes(operator: Operator) -> None:
    operator.letters.add(letter(1), letter(2, stream="OTHER"))
    done = letters_command(operator, "drop", "--all")
    assert (done.status, "--yes" in done.stderr) == (2, True)
    assert states(operator.letters) == {1: "open", 2: "open"}
    done = letters_command(operator, "drop", "--all", "--yes")
    assert (done.status, done.fields) == (0, [["1", "dropped"], ["2", "dropped"]])
    assert states(operator.letters) == {1: "dropped", 2: "dropped"}


def test_held_batches_are_listed_and_decided_on(operator: Operator) -> None:
    operator.batches.add(batch("b1"), batch("b2", state="RUNNING", error=None), batch("b3"))
    done = batches_command(operator, "list", "--state", "held")
    assert done.status == 0
    assert done.fields[0][:7] == ["b1", "EVENTS", "events", "HELD", "1", "10", "1234"]
    assert done.fields[0][7:] == [AT, "query-b1-a1", "3 of 10 rows are there"]
    assert [fields[0] for fields in done.fields] == ["b1", "b3"]
    done = batches_command(operator, "accept", "b1", "b2", "a/b?", "b3")
    assert (done.status, done.fields) == (1, [["b1", "accepted"], ["b3", "accepted"]])
    assert operator.batches.verdicts == [("accept", "b1"), ("accept", "b3")]
    assert "batch b2: Batch b2 is RUNNING" in done.stderr
    assert "a/b?" in done.stderr


# ── exit codes ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments",
    [
        ["dead-letters", "nonsense"],
        ["dead-letters", "list", "--limit", "many"],
        ["dead-letters", "list", "--state", "closed"],
        ["dead-letters", "list", "--admin", "nowhere"],
        ["dead-letters", "list", "--admin", "http://127.0.0.1:99999"],
        ["dead-letters", "show"],
        ["dead-letters", "retry"],
        ["dead-letters", "retry", "1", "--all"],
        ["dead-letters", "retry", "1", "--stream", "S"],
        ["dead-letters", "drop", "x"],
        ["batches", "accept"],
    ],
)
def test_wrong_usage_is_2_and_is_told_on_standard_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["headrace", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert said.err.strip()


def test_what_the_gateway_refuses_is_1_in_the_gateways_words(operator: Operator) -> None:
    done = letters_command(operator, "show", 5)
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr == "headrace: There is no dead letter 5\n"


def test_a_gateway_that_is_not_ready_is_75() -> None:
    with opened_operator(refusal=NotReady()) as operator:
        done = batches_command(operator, "list")
    assert (done.status, done.stderr) == (75, f"headrace: {NotReady().message}\n")


def test_no_gateway_is_69_with_its_address_and_the_remedy(operator: Operator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    done = headrace("dead-letters", "list", settings={"HEADRACE_ADMIN": nobody})
    assert (done.status, done.stdout) == (69, "")
    assert nobody in done.stderr
    assert "headrace serve" in done.stderr


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\n\r\n<html>"])
def test_something_else_that_answers_there_is_69_too(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_once() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=answer_once)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        done = headrace("batches", "list", "--admin", url)
        thread.join()
    assert (done.status, url in done.stderr) == (69, True)


def test_the_address_comes_from_the_option_the_environment_or_the_configuration(
    operator: Operator, tmp_path: Path
) -> None:
    host, port = operator.door.address
    operator.batches.add(batch("b1"))
    file = tmp_path / "headrace.toml"
    file.write_text(f'[admin]\nhost = "{host}"\nport = {port}\n')
    wrong = {"HEADRACE_ADMIN": "http://127.0.0.1:1"}
    named = headrace("batches", "list", "--admin", operator.url, settings=wrong)
    in_environment = headrace("batches", "list", settings={"HEADRACE_ADMIN": operator.url})
    configured = headrace("batches", "list", settings={"HEADRACE__ADMIN__PORT": str(port)})
    in_file = headrace("batches", "list", "--config", file)
    for done in (named, in_environment, configured, in_file):
        assert (done.status, done.fields[0][0]) == (0, "b1")
    off = headrace("batches", "list", settings={"HEADRACE__ADMIN__PORT": "off"})
    assert (off.status, "admin.port is off" in off.stderr) == (2, True)


def test_a_configuration_that_cannot_be_used_is_78(tmp_path: Path) -> None:
    done = headrace("batches", "list", "--config", tmp_path / "missing.toml")
    assert (done.status, "missing.toml" in done.stderr) == (78, True)
