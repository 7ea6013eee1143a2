"""`headrace insert` against a real gateway: formats, pipes, refused rows, exit codes."""

import csv
import gzip
import json
import socket
import subprocess
from pathlib import Path

import pytest

from tests.commands import Ended, command_line, environment, headrace
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import count, declare, insert, json_lines, ksql, numbered, query, until

ROWS = 5000


def load(gateway: GatewayProcess, *arguments: object, stdin: bytes = b"") -> Ended:
    return headrace("insert", *arguments, "--url", gateway.url, stdin=stdin)


def ids(peer: Peer, stream: str) -> list[int]:
    return [row[0] for row in query(peer, f"SELECT id FROM {stream} ORDER BY id;").rows]


def summary(done: Ended) -> dict[str, str]:
    return {name: value for name, value in done.fields}  # noqa: C416


# ── NDJSON ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["plain", "gzip", "gzip in two members", "standard input"])
def test_every_row_of_a_file_is_stored_once(
    gateway: GatewayProcess, peer: Peer, stream_name: str, tmp_path: Path, form: str
) -> None:
    rows, file = json_lines(numbered(0, ROWS)), tmp_path / "rows"
    half = rows.index(b"\n", len(rows) // 2) + 1
    members = (rows,) if form != "gzip in two members" else (rows[:half], rows[half:])
    packed = b"".join(map(gzip.compress, members)) if "gzip" in form else rows
    if form == "standard input":
        done = load(gateway, stream_name, stdin=packed)
    else:
        file.write_bytes(packed)
        done = load(gateway, stream_name, file)
    assert (done.status, done.stderr) == (0, "")
    assert summary(done)["acked"] == str(ROWS)
    assert ids(peer, stream_name) == list(range(ROWS))


def test_empty_lines_a_byte_order_mark_and_a_missing_last_newline_are_no_rows(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    lines = json_lines(numbered(0, 3)).splitlines()
    text = b"\xef\xbb\xbf\n" + lines[0] + b"\r\n\r\n\n" + lines[1] + b"\n\n" + lines[2]
    done = load(gateway, stream_name, "--json", stdin=text)
    assert (done.status, json.loads(done.stdout)["acked"]) == (0, 3)
    assert ids(peer, stream_name) == [0, 1, 2]


def test_an_empty_input_is_no_failure(gateway: GatewayProcess, stream_name: str) -> None:
    for stdin in (b"", gzip.compress(b""), b"\n\n"):
        done = load(gateway, stream_name, "--json", stdin=stdin)
        assert (done.status, json.loads(done.stdout)["acked"]) == (0, 0)


def test_rows_of_a_live_pipe_leave_as_they_come(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    command = command_line(["insert", stream_name, "--url", gateway.url])
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment({})) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for number in range(3):
            running.stdin.write(json_lines(numbered(number, number + 1)))
            running.stdin.flush()
            until(lambda n=number: count(peer, stream_name) == n + 1, "the row of the pipe")  # type: ignore[misc]
        running.stdin.close()
        assert b"acked\t3\n" in running.stdout.read()
        assert running.wait() == 0


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────

COLUMNS = """id BIGINT, name STRING, small INTEGER, ok BOOLEAN, price DOUBLE, amount DECIMAL(20, 2),
tags ARRAY<STRING>, `lower` STRING, at TIMESTAMP"""


@pytest.fixture
def typed(peer: Peer) -> str:
    return declare(peer, COLUMNS)


def test_csv_fields_become_what_the_columns_are(
    gateway: GatewayProcess, peer: Peer, typed: str, tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    with file.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["id", "name", "Small", "ok", "price", "amount", "tags", "lower", "at"])
        moment = "2024-02-29T12:00:00"
        exact = "123456789012345678.90"
        writer.writerow([1, 'a "b",\nc', 7, "true", "1.5e3", exact, '["x","y"]', "l", moment])
        writer.writerow([2, "", "", "FALSE", "", "", "", "", moment])
        writer.writerow(["-3", "é", "+4", "false", ".5", "1", "[]", "m", moment])
    done = load(gateway, typed, file)
    assert (done.status, done.stderr) == (0, "")
    sql = f"SELECT id, name, small, ok, price, amount, `lower` FROM {typed} ORDER BY id;"
    found = query(peer, sql).rows
    assert [row[:5] for row in found] == [
        [-3, "é", 4, False, 0.5],
        [1, 'a "b",\nc', 7, True, 1500.0],
        [2, "", None, False, None],
    ]
    assert [row[6] for row in found] == ["m", "l", ""]
    assert float(found[1][5]) == float(exact)
    (tags,) = query(peer, f"SELECT tags FROM {typed} WHERE id = 1;").rows[0]
    assert tags == ["x", "y"]


def test_csv_without_a_header_has_its_columns_named_and_null_is_what_it_is_said_to_be(
    gateway: GatewayProcess, peer: Peer, typed: str
) -> None:
    text = b"1;NULL;2024-01-01\n\n2;;2024-01-02\n"
    options = ("--format", "csv", "--columns", "id,name,at", "--delimiter", ";", "--null", "NULL")
    done = load(gateway, typed, *options, stdin=gzip.compress(text))
    assert (done.status, done.stderr) == (0, "")
    assert query(peer, f"SELECT id, name FROM {typed} ORDER BY id;").rows == [[1, None], [2, ""]]


def test_what_is_no_value_of_its_column_is_refused_by_the_gateway_and_its_place_is_told(
    gateway: GatewayProcess, peer: Peer, typed: str, tmp_path: Path
) -> None:
    bad = ["1.5", "1_000", "12345678901234567890", "x", "nan"]
    lines = ["id,price,at", "1,1e999,2024-01-01", '"2",2,2024-01-01', "3,2024-01-01"]
    lines += [f"{text},1,2024-01-01" for text in bad] + ["4,4,2024-01-01"]
    rejected = tmp_path / "rejected"
    options = ("--format", "csv", "--on-error", "continue", "--rejected", rejected)
    done = load(gateway, typed, *options, stdin="\n".join(lines).encode())
    assert (done.status, done.stderr) == (1, "")
    assert (summary(done)["acked"], summary(done)["refused"]) == ("2", "7")
    told = [json.loads(line) for line in rejected.read_bytes().splitlines()]
    assert [each["line"] for each in told] == [2, 4, 5, 6, 7, 8, 9]
    assert "column `PRICE`" in told[0]["message"]
    assert "2 fields" in told[1]["message"]
    assert json.loads(told[1]["row"]) == ["3", "2024-01-01"]
    assert all("column `ID`" in each["message"] for each in told[2:])
    assert ids(peer, typed) == [2, 4]


def test_a_header_that_the_stream_does_not_know_stops_it_before_the_first_row(
    gateway: GatewayProcess, peer: Peer, typed: str
) -> None:
    done = load(gateway, typed, "--format", "csv", stdin=b"id,nope\n1,2\n")
    assert (done.status, done.stdout) == (2, "")
    assert "`nope`" in done.stderr
    assert "--columns" in done.stderr
    done = load(gateway, typed, "--format", "csv", stdin=b"id,ID\n1,2\n")
    assert (done.status, "more than once" in done.stderr) == (2, True)
    assert count(peer, typed) == 0


# ── refused rows ─────────────────────────────────────────────────────────────────────────────

MIXED = b'{"ID":0,"AT":"2024-01-01"}\n\n{"ID":"x"}\n{"ID":2,"AT":"2024-01-01"}\nnonsense\n'


def test_a_refused_row_ends_it_and_the_sentence_names_its_line(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    done = load(gateway, stream_name, stdin=MIXED)
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith("headrace: line 3 was refused")
    assert "column `ID`" in done.stderr
    assert "the 1 rows before it are stored" in done.stderr
    assert ids(peer, stream_name) == [0]


def test_refused_rows_go_to_a_file_and_all_others_are_stored(
    gateway: GatewayProcess, peer: Peer, stream_name: str, tmp_path: Path
) -> None:
    rejected = tmp_path / "rejected.ndjson"
    options = ("--on-error", "continue", "--rejected", rejected)
    done = load(gateway, stream_name, *options, stdin=MIXED)
    assert (done.status, done.stderr) == (1, "")
    told = [json.loads(line) for line in rejected.read_bytes().splitlines()]
    assert [(each["line"], each["row"]) for each in told] == [(3, '{"ID":"x"}'), (5, "nonsense")]
    assert ids(peer, stream_name) == [0, 2]


def test_without_a_file_the_first_refused_rows_are_told_and_the_others_counted(
    gateway: GatewayProcess, stream_name: str
) -> None:
    done = load(gateway, stream_name, "--on-error", "continue", stdin=b"nonsense\n" * 500)
    told = done.stderr.splitlines()
    assert (done.status, len(told)) == (1, 11)
    assert told[0].startswith("headrace: line 1 was refused")
    assert "490 more" in told[-1]
    assert summary(done)["refused"] == "500"


BAD_ROWS = 5000
"""more than a stream keeps verdicts of that wait for rows before them"""


def test_so_many_refused_rows_that_the_gateway_ends_the_stream_are_survived_on_a_channel(
    gateway: GatewayProcess, peer: Peer, stream_name: str, tmp_path: Path
) -> None:
    rejected, good = tmp_path / "rejected", json_lines(numbered(0, 2))
    text = b"nonsense\n" * BAD_ROWS + good + b"nonsense\n" * BAD_ROWS
    options = ("--on-error", "continue", "--rejected", rejected)
    done = load(gateway, stream_name, *options, "--channel", "bad", stdin=text)
    assert (done.status, done.stderr) == (1, "")
    assert (summary(done)["acked"], summary(done)["refused"]) == ("2", str(2 * BAD_ROWS))
    lines = [json.loads(line)["line"] for line in rejected.read_bytes().splitlines()]
    first, end = BAD_ROWS + 1, BAD_ROWS + 3
    assert lines == [*range(1, first), *range(end, end + BAD_ROWS)]
    assert ids(peer, stream_name) == [0, 1]


def test_without_a_channel_the_end_of_the_stream_says_what_to_do(
    gateway: GatewayProcess, stream_name: str, tmp_path: Path
) -> None:
    rejected = tmp_path / "rejected"
    options = ("--on-error", "continue", "--rejected", rejected)
    done = load(gateway, stream_name, *options, stdin=b"nonsense\n" * BAD_ROWS)
    assert (done.status, done.stdout) == (1, "")
    told = [json.loads(line)["line"] for line in rejected.read_bytes().splitlines()]
    assert told == list(range(1, len(told) + 1))
    assert 0 < len(told) < BAD_ROWS
    assert f"headrace: line {len(told)} was refused, and no row after it is stored" in done.stderr
    assert "a load with a --channel goes on by itself" in done.stderr


# ── channels ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("format_", ["ndjson", "csv"])
def test_a_load_on_a_channel_goes_on_where_the_channel_stands(
    gateway: GatewayProcess, peer: Peer, stream_name: str, tmp_path: Path, format_: str
) -> None:
    file = tmp_path / f"rows.{format_}"
    rows = numbered(0, ROWS)
    if format_ == "ndjson":
        file.write_bytes(b"\n" + json_lines(rows))
    else:
        with file.open("w", newline="") as text:
            writer = csv.DictWriter(text, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    first = json_lines(rows[:3217])
    assert len(insert(peer, stream_name, first, channel="load", offset=0)) == 3217
    done = load(gateway, stream_name, file, "--channel", "load")
    assert (done.status, done.stderr) == (0, "")
    assert summary(done)["skipped"] == "3217"
    assert summary(done)["acked"] == str(ROWS - 3217)
    again = load(gateway, stream_name, file, "--channel", "load")
    assert (again.status, summary(again)["skipped"]) == (0, str(ROWS))
    assert ids(peer, stream_name) == list(range(ROWS))


def test_a_channel_that_is_ahead_of_the_file_is_told(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    insert(peer, stream_name, numbered(0, 10), channel="load", offset=0)
    rows = json_lines(numbered(0, 7))
    done = load(gateway, stream_name, "--channel", "load", stdin=rows)
    assert (done.status, done.stdout) == (1, "")
    assert "stands at row 10" in done.stderr
    assert "only 7 rows" in done.stderr


def test_a_refused_row_on_a_channel_is_mended_and_the_load_goes_on_there(
    gateway: GatewayProcess, peer: Peer, stream_name: str, tmp_path: Path
) -> None:
    file = tmp_path / "rows"
    file.write_bytes(MIXED.replace(b"nonsense\n", b""))
    done = load(gateway, stream_name, file, "--channel", "load")
    assert (done.status, "mend it" in done.stderr) == (1, True)
    file.write_bytes(file.read_bytes().replace(b'"x"', b'1,"AT":"2024-01-01"'))
    done = load(gateway, stream_name, file, "--channel", "load")
    assert (done.status, summary(done)["skipped"], summary(done)["acked"]) == (0, "1", "2")
    assert ids(peer, stream_name) == [0, 1, 2]


# ── what cannot be done ──────────────────────────────────────────────────────────────────────


def test_wrong_usage_is_exit_code_2(
    gateway: GatewayProcess, stream_name: str, tmp_path: Path
) -> None:
    wrong = {
        "cannot be read": (stream_name, tmp_path / "nowhere"),
        "is a folder": (stream_name, tmp_path),
        "--on-error continue": (stream_name, "--rejected", tmp_path / "r"),
        "--format csv": (stream_name, "--columns", "a"),
        "one character": (stream_name, "--format", "csv", "--delimiter", ";;"),
    }
    for said, arguments in wrong.items():
        done = load(gateway, *arguments)
        assert (done.status, done.stdout) == (2, "")
        assert said in done.stderr


def test_a_stream_that_is_not_there_is_a_refusal(gateway: GatewayProcess) -> None:
    for options in ((), ("--format", "csv"), ("--channel", "c")):
        done = load(gateway, "NOPE", *options, stdin=b"{}\n")
        assert (done.status, "NOPE" in done.stderr) == (1, True)


def test_a_damaged_or_cut_gzip_file_is_a_failure_behind_the_rows_before(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    rows = json_lines(numbered(0, ROWS))
    done = load(gateway, stream_name, stdin=gzip.compress(rows)[:-10])
    assert (done.status, "middle of its gzip" in done.stderr) == (1, True)
    done = load(gateway, stream_name, stdin=gzip.compress(rows)[:200] + b"nonsense" * 100)
    assert (done.status, "is damaged" in done.stderr) == (1, True)
    done = load(gateway, stream_name, "--format", "csv", stdin=b"id\n\xff\xfe\n")
    assert (done.status, "line 2 is not UTF-8" in done.stderr) == (1, True)


def test_without_a_gateway_it_is_exit_code_69() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = headrace("insert", "EVENTS", "--url", f"http://127.0.0.1:{port}")
    assert (done.status, done.stdout) == (69, "")
    assert "no gateway answers" in done.stderr
    assert "HEADRACE_URL" in done.stderr


def test_the_url_comes_from_the_environment_or_the_configuration_too(
    gateway: GatewayProcess, peer: Peer, stream_name: str, tmp_path: Path
) -> None:
    rows = json_lines(numbered(0, 1))
    done = headrace("insert", stream_name, stdin=rows, settings={"HEADRACE_URL": gateway.url})
    assert done.status == 0
    file = tmp_path / "headrace.toml"
    file.write_text(f"[http]\nport = {gateway.address[1]}\n")
    done = headrace("insert", stream_name, "--config", file, stdin=rows)
    assert done.status == 0
    settings = {"HEADRACE__HTTP__PORT": str(gateway.address[1])}
    assert headrace("insert", stream_name, stdin=rows, settings=settings).status == 0
    assert count(peer, stream_name) == 3
    file.write_text("[http]\nprt = 1\n")
    assert headrace("insert", stream_name, "--config", file, stdin=rows).status == 78


def test_a_datasource_that_nobody_declared_takes_csv_too(
    gateway: GatewayProcess, peer: Peer, stream_name: str
) -> None:
    insert(peer, stream_name, numbered(0, 1))
    ksql(peer, f"DROP STREAM {stream_name};")
    datasource = stream_name.lower()
    done = load(gateway, datasource, "--format", "csv", stdin=b"id,__time\n7,2024-01-01\n")
    assert (done.status, done.stderr) == (0, "")
    assert count(peer, datasource) == 2
