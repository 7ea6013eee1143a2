"""`headrace sql` against a real gateway: its prompt on a pseudo-terminal, scripts by a pipe."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Ended, headrace
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import insert, ksql, numbered, until
from tests.terminal import END_OF_FILE, INTERRUPT, TAB, UP, Terminal, on_a_terminal

PROMPT = "headrace>"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def prompt(gateway: GatewayProcess, state: Path) -> Iterator[Terminal]:
    settings = {"XDG_STATE_HOME": str(state)}
    with on_a_terminal("sql", "--url", gateway.url, settings=settings) as terminal:
        terminal.expect(PROMPT)
        yield terminal


def script(gateway: GatewayProcess, text: str, *options: str) -> Ended:
    return headrace("sql", "--url", gateway.url, *options, stdin=text.encode())


# ── at the prompt ────────────────────────────────────────────────────────────────────────────


def test_a_select_at_the_prompt_is_a_table_and_may_take_several_lines(
    prompt: Terminal, peer: Peer, stream_name: str
) -> None:
    insert(peer, stream_name, numbered(0, 2))
    prompt.type(b"SELECT id, name -- ';'\r")
    prompt.expect(r"\n +->")
    prompt.type(f"FROM {stream_name} ORDER BY id;\r".encode())
    shown = prompt.expect(r"ID  NAME *\n──  ─+ *\n 0  row 0\n 1  row 1\n")
    prompt.expect(PROMPT, after=shown)
    prompt.type(END_OF_FILE)
    assert prompt.wait() == 0


def test_names_of_the_gateway_are_completed(
    prompt: Terminal, peer: Peer, gateway: GatewayProcess
) -> None:
    ksql(peer, "CREATE STREAM ZEBRAS_OF_1913 (id BIGINT, stripes BIGINT);")
    # A statement that is no query makes the prompt look for new names.
    prompt.type(b"LIST STREAMS;\r")
    shown = prompt.expect(r"ZEBRAS_OF_1913 +STREAM")
    shown = prompt.expect(PROMPT, after=shown)

    prompt.type(b"zebr")
    shown = prompt.expect("zebr", after=shown)

    def is_completed() -> bool:
        prompt.type(TAB)
        return prompt.shows("ZEBRAS_OF_1913", after=shown)

    until(is_completed, "the name in the place of its beginning")


def test_interrupt_ends_a_query_and_not_the_prompt(
    prompt: Terminal, peer: Peer, stream_name: str
) -> None:
    prompt.type(b"SET 'auto.offset.reset' = 'earliest';\r")
    shown = prompt.expect(PROMPT, after=prompt.expect(r"earliest';"))
    insert(peer, stream_name, numbered(0, 1))
    prompt.type(f"SELECT name FROM {stream_name} EMIT CHANGES;\r".encode())
    shown = prompt.expect(r"NAME *\n─+ *\nrow 0\n", after=shown)
    insert(peer, stream_name, numbered(1, 2))
    shown = prompt.expect(r"row 1\n", after=shown)
    prompt.type(INTERRUPT)
    shown = prompt.expect(PROMPT, after=shown)
    until(lambda: ksql(peer, "LIST QUERIES;")[0]["queries"] == [], "the end of the query")
    prompt.type(b"half of a state" + INTERRUPT)
    shown = prompt.expect(PROMPT, after=prompt.expect("half of a state", after=shown))
    prompt.type(b"\\q\r")
    assert prompt.wait() == 0


def test_an_error_is_told_and_the_prompt_stays(prompt: Terminal) -> None:
    prompt.type(b"SELEC 1;\r")
    shown = prompt.expect(r"headrace: line 1:1: Syntax Error\nUnknown statement 'SELEC'")
    shown = prompt.expect(PROMPT, after=shown)
    prompt.type(b"\\nonsense\r")
    shown = prompt.expect(r"there is no \\+nonsense", after=shown)
    prompt.type(b"\\help\r")
    shown = prompt.expect(r"A statement ends with a semicolon", after=shown)
    prompt.expect(PROMPT, after=shown)
    prompt.type(END_OF_FILE)
    assert prompt.wait() == 0


def test_the_history_is_kept_for_the_next_time_and_is_its_owners_alone(
    prompt: Terminal, gateway: GatewayProcess, state: Path
) -> None:
    prompt.type(b"LIST TOPICS;\r")
    prompt.expect(PROMPT, after=prompt.expect("LIST TOPICS;"))
    prompt.type(END_OF_FILE)
    assert prompt.wait() == 0
    file = state / "headrace" / "history"
    assert "LIST TOPICS;" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    settings = {"XDG_STATE_HOME": str(state)}
    with on_a_terminal("sql", "--url", gateway.url, settings=settings) as again:
        again.expect(PROMPT)
        again.type(UP)
        again.expect("LIST TOPICS;")


# ── through a pipe ───────────────────────────────────────────────────────────────────────────


def test_a_script_runs_its_statements_in_order(gateway: GatewayProcess, stream_name: str) -> None:
    text = f"""
    DEFINE who = 'piped';
    INSERT INTO {stream_name} (id, name, at) VALUES (1, '${{who}}; indeed', '2024-01-01');
    SET 'auto.offset.reset' = 'earliest'; -- for what follows
    SELECT id, name FROM {stream_name} EMIT CHANGES LIMIT 1;
    DESCRIBE {stream_name}
    """
    done = script(gateway, text)
    assert (done.status, done.stderr) == (0, "")
    assert done.fields[0] == ["1", "piped; indeed"]
    assert done.fields[1][:2] == ["ID", "BIGINT"]


def test_a_script_stops_at_the_first_error(gateway: GatewayProcess, peer: Peer) -> None:
    done = script(gateway, "LIST TABLES; nonsense; CREATE STREAM NEVER_MADE (id BIGINT);")
    assert (done.status, done.stdout) == (1, "")
    assert "Unknown statement 'nonsense'" in done.stderr
    names = [each["name"] for each in ksql(peer, "LIST STREAMS;")[0]["streams"]]
    assert "NEVER_MADE" not in names
    done = script(gateway, "SELECT 'never ends;")
    assert (done.status, "never ends" in done.stderr) == (1, True)


def test_a_scripts_answers_are_json_lines_where_they_are_asked_for(
    gateway: GatewayProcess, stream_name: str
) -> None:
    text = f"LIST QUERIES; SELECT COUNT(*) AS n FROM {stream_name};"
    done = script(gateway, text, "--json")
    assert done.status == 0
    first, *_ = [json.loads(line) for line in done.stdout.splitlines()]
    assert first["@type"] == "queries"
    assert script(gateway, "").status == 0
