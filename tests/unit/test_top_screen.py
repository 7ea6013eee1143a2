"""What `headrace top` draws: it fits the terminal, whatever the gateway tells and however small."""

from typing import Any

import pytest
from rich.cells import cell_len

from gateway.commands.screen import report, screen, sparkline
from gateway.commands.units import ago, latency, rate, size, span

SIZES = [(80, 24), (120, 50), (200, 100), (40, 12), (20, 5)]


def picture(count: int = 0, at_ms: int = 1_700_000_100_000, rows: int = 0) -> dict[str, Any]:
    """A picture with ``count`` of everything; its streams stand at ``rows`` and more."""
    nothing: dict[str, Any] = {"total": 0, "items": []}
    return {
        "atMs": at_ms,
        "startedMs": 1_700_000_000_000,
        "version": "1.2.3",
        "state": "RUNNING",
        "warehouse": {"name": "druid", "awaySinceMs": None, "why": None},
        "rates": {"rowsIn": 12345.6, "bytesIn": 1 << 20, "acked": {"committed": 12000.0}},
        "totals": {"rowsIn": 1, "bytesIn": 1, "acked": {}},
        "ackLatency": {"p50S": 0.0123, "p99S": 1.5, "overS": 10},
        "history": {"rowsIn": [1, 2, 3], "acked": [3], "p50S": [None, 0.1], "p99S": []},
        "spool": {"storedBytes": 1 << 30, "limitBytes": 8 << 30, "oldestRowAgeS": 2.0,
                  "takesRows": True, "why": None},
        "streams": _many(count, lambda n: {
            "target": f"S{n}", "channel": "edge\x1b[2J", "principal": None,
            "rows": rows + n * 100, "acked": 0, "waitingBytes": 5}),
        "batches": _many(count, lambda n: {
            "taskId": f"hr-{n}", "stream": "S", "state": "RUNNING", "stage": "1:READING_INPUT",
            "rows": 10, "rowsRead": 5, "rowsWritten": None, "sealedMs": 1_700_000_000_000}),
        "held": _many(count and 1, lambda n: {
            "taskId": f"held-{n}", "stream": "S", "state": "HELD", "rows": 10, "error": None}),
        "queries": _many(count, lambda n: {
            "id": f"q{n}", "sql": "SELECT 語語語語 FROM S " * 20, "kind": "PUSH",
            "rowsDelivered": n, "entriesBehind": None}),
        "deadLetters": _many(count, lambda n: {
            "id": n, "stream": "S", "message": "bad\nrow", "row": "\x07", "atMs": 1}),
        "sources": nothing,
    }  # fmt: skip


def _many(count: int, make: Any) -> dict[str, Any]:
    return {"total": count, "rows": 0, "items": [make(number) for number in range(count)]}


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("count", [0, 1, 3, 50])
def test_a_screen_has_the_terminals_height_and_no_line_is_wider(
    width: int, height: int, count: int
) -> None:
    lines = screen(picture(count), None, width, height, None)
    assert len(lines) == height
    if width >= 80:
        assert max(line.cell_len for line in lines) <= width


def test_eighty_by_twenty_four_shows_something_of_every_list() -> None:
    text = "\n".join(line.plain for line in screen(picture(50), None, 80, 24))
    vitals = ["12,346/s", "1.0 GiB", "12 ms", "q quits"]
    lists = ["Held", *(f"{name}  50" for name in ("Insert streams", "Batches", "Queries"))]
    for what in (*vitals, *lists, "Dead letters  50", "hr-0", "1:reading_input"):
        assert what in text, what


def test_nothing_that_a_client_sent_reaches_the_terminal_as_control_characters() -> None:
    text = "".join(line.plain for line in screen(picture(3), None, 100, 60))
    assert text.isprintable()
    assert "\\x1b[2J" in text
    assert all(line.isprintable() for line in report(picture(3), 100))


def test_who_reads_no_terminal_gets_ten_of_each_list_and_how_many_more_there_are() -> None:
    told = picture(40)
    told["deadLetters"]["total"] = 1234
    lines = report(told, 120)
    letters = lines[lines.index("Dead letters  1,234") + 1 :]
    assert [line.split()[0] for line in letters] == ["id", *map(str, range(10)), "and"]
    assert letters[-1] == "and 1,224 more"
    assert lines.count("and 30 more") == 3, "streams, batches and queries"
    assert not any(line.endswith(" more") for line in report(picture(10), 120))


def test_the_busiest_streams_come_first_once_two_pictures_tell_their_pace() -> None:
    before, now = picture(3), picture(3, at_ms=1_700_000_102_000)
    now["streams"]["items"][1]["rows"] += 500
    text = [line.plain for line in screen(now, before, 100, 60)]
    names = [line.split()[0] for line in text if line.startswith("S") and "edge" in line]
    assert names == ["S1", "S0", "S2"]
    assert any("250" in line for line in text if line.startswith("S1"))


def test_a_gateway_that_is_gone_and_a_warehouse_that_is_away_are_told_in_the_head() -> None:
    lost = screen(picture(), None, 80, 24, "12:00:01")[0].plain
    assert "DISCONNECTED since 12:00:01" in lost
    away = picture()
    away["warehouse"]["awaySinceMs"] = away["atMs"] - 65_000
    assert "WAREHOUSE AWAY for 65 s" in screen(away, None, 80, 24)[0].plain


def test_rooms_that_are_not_open_yet_have_a_screen_too() -> None:
    starting = picture() | {"state": "STARTING", "spool": None, "held": None}
    del starting["batches"]
    assert "STARTING" in screen(starting, None, 80, 24)[0].plain


def test_a_sparkline_has_the_newest_values_and_blanks_for_what_is_not_known() -> None:
    assert sparkline([0, None, 50, 100], 6) == "  ▁ ▅█"
    assert sparkline(range(100), 3) == "███"
    assert sparkline([0, 0], 2) == "▁▁"
    assert cell_len(sparkline([], 4)) == 4


def test_numbers_are_written_as_people_read_them() -> None:
    assert [size(0), size(1023), size(1536), size(200 << 20)] == [
        "0 B", "1023 B", "1.5 KiB", "200 MiB"]  # fmt: skip
    assert [rate(0), rate(0.25), rate(1234.5)] == ["0", "0.2", "1,234"]
    assert [latency(None), latency(0.0012), latency(0.25), latency(3)] == [
        "\u2013", "1.2 ms", "250 ms", "3.00 s"]  # fmt: skip
    assert [span(5), span(600), span(10_000), span(400_000)] == ["5 s", "10 min", "2 h", "4 days"]
    assert ago(1000, 1500) == "now"
