"""A picture of the gateway as lines for a terminal of some size: what `headrace top` shows.

Pure: a document of ``/picture``, the one before it, and a size in; lines out, none wider and no
more than that. What clients sent is shown without control characters (`plain`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import repeat
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from gateway.commands.output import plain
from gateway.commands.units import NOTHING, ago, count, latency, rate, size, span

Picture = Mapping[str, Any]
Item = Mapping[str, Any]

BARS = "▁▂▃▄▅▆▇█"
LABEL = 10
GAP = 2
FLEXIBLE_LEAST = 8
REPORTED_MAX = 10
"""items of each list, for who reads no terminal"""
DIM, HEAD, ALARM, ACCENT = "dim", "bold", "bold red", "cyan"


@dataclass(frozen=True, slots=True)
class Column:
    """``flexible`` ones share the width that is left, and are cut; numbers are right-aligned."""

    head: str
    cell: Callable[[Item], str]
    is_number: bool = False
    flexible: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A list of the picture."""

    title: str
    items: Sequence[Item]
    total: int
    columns: Sequence[Column]
    style: str = HEAD


def screen(
    picture: Picture, before: Picture | None, width: int, height: int, lost: str | None = None
) -> list[Text]:
    """Exactly what fits; ``lost`` says since when nothing came."""
    top = [*_head(picture, width, lost), *_vitals(picture, width)]
    sections = _sections(picture, before)
    room = height - len(top) - 1
    for section, rows in zip(sections, _shares(sections, room), strict=True):
        top += _section(section, width, rows)
    del top[height - 1 :]
    top += repeat(Text(), height - 1 - len(top))
    return [*top, Text("q quits", style=DIM)]


def report(picture: Picture, width: int) -> list[str]:
    """For who reads no terminal: so many of each list, and how many more there are."""
    lines = [*_head(picture, width, None), *_vitals(picture, width)]
    for section in _sections(picture, None):
        lines += _reported(section, width)
    return [line.plain.rstrip() for line in lines]


def _reported(section: Section, width: int) -> list[Text]:
    shown = section.items[:REPORTED_MAX]
    lines = _section(replace(section, items=shown), width, 2 + len(shown))
    more = section.total - len(shown)
    return [*lines, Text(f"and {count(more)} more", style=DIM)] if shown and more > 0 else lines


# ── the head and the vitals ──────────────────────────────────────────────────────────────────


def _head(picture: Picture, width: int, lost: str | None) -> list[Text]:
    warehouse = picture["warehouse"]
    up_s = (picture["atMs"] - picture["startedMs"]) / 1000
    at = datetime.fromtimestamp(picture["atMs"] / 1000).astimezone().strftime("%H:%M:%S")
    state, style = picture["state"], ACCENT if picture["state"] == "RUNNING" else ALARM
    if warehouse["awaySinceMs"] is not None:
        away_s = (picture["atMs"] - warehouse["awaySinceMs"]) / 1000
        state, style = f"WAREHOUSE AWAY for {span(away_s)}", ALARM
    if lost is not None:
        state, style = f"DISCONNECTED since {lost}", ALARM
    line = Text("Headrace ", style=HEAD)
    line.append(state, style=style)
    line.append(f"  {picture['version']} · {warehouse['name']} · up {span(up_s)}", style=DIM)
    line.truncate(max(0, width - len(at) - 1))
    line.append(" " * (width - line.cell_len - len(at)))
    line.append(at, style=DIM)
    return [line, Text()]


def _vitals(picture: Picture, width: int) -> list[Text]:
    rates, history = picture["rates"], picture["history"]
    delay = picture["ackLatency"]
    acked = sum(rates["acked"].values())
    levels = ", ".join(f"{rate(each)} {name}" for name, each in rates["acked"].items() if each)
    slow = "no ack of late" if delay["p99S"] is None else f"99 % within {latency(delay['p99S'])}"
    lines = [
        _vital("rows in", f"{rate(rates['rowsIn'])}/s", history["rowsIn"], width,
               f"{size(rates['bytesIn'])}/s"),
        _vital("acked", f"{rate(acked)}/s", history["acked"], width, levels),
        _vital("latency", latency(delay["p50S"]), history["p50S"], width, slow),
    ]  # fmt: skip
    if picture["spool"] is not None:
        lines.append(_spool(picture["spool"], width))
    return [*lines, Text()]


def _vital(label: str, value: str, history: Sequence[float | None], width: int, note: str) -> Text:
    line = Text(f"{label:<{LABEL}}", style=DIM)
    line.append(f"{value:>12}  ", style=HEAD)
    line.append(sparkline(history, _chart(width)), style=ACCENT)
    line.append(f"  {note}", style=DIM)
    line.truncate(width)
    return line


def _spool(spool: Mapping[str, Any], width: int) -> Text:
    share = min(1.0, spool["storedBytes"] / spool["limitBytes"])
    full = round(share * _chart(width))
    style = ACCENT if spool["takesRows"] and share < 0.8 else ALARM
    line = Text(f"{'spool':<{LABEL}}", style=DIM)
    line.append(f"{size(spool['storedBytes']):>12}  ", style=HEAD)
    line.append("█" * full, style=style)
    line.append("░" * (_chart(width) - full), style=DIM)
    age = f", oldest row {span(spool['oldestRowAgeS'])}" if spool["oldestRowAgeS"] >= 1 else ""
    line.append(f"  of {size(spool['limitBytes'])}{age}", style=DIM)
    line.truncate(width)
    return line


def _chart(width: int) -> int:
    return max(4, min(60, width - LABEL - 14 - 30))


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The newest ``width`` values as blocks; what is not known is a blank."""
    shown = list(values)[-width:]
    peak = max((value for value in shown if value is not None), default=0.0)
    blocks = "".join(
        " " if value is None else BARS[round(value / peak * (len(BARS) - 1)) if peak else 0]
        for value in shown
    )
    return blocks.rjust(width)


# ── the lists ────────────────────────────────────────────────────────────────────────────────


def _sections(picture: Picture, before: Picture | None) -> list[Section]:
    now_ms = picture["atMs"]
    pace = _Pace(picture, before)
    found = [
        _section_of(picture, "streams", "Insert streams", _streams(pace), pace.fastest_first),
        _section_of(picture, "batches", "Batches", _batches(now_ms)),
        _section_of(picture, "queries", "Queries", _queries(pace), pace.fastest_first),
        _section_of(picture, "deadLetters", "Dead letters", _letters(now_ms)),
    ]
    held = _section_of(picture, "held", "Held: they wait for you", _held(), style=ALARM)
    return [held, *found] if held.total else found


def _section_of(
    picture: Picture,
    name: str,
    title: str,
    columns: Sequence[Column],
    order: Callable[[Sequence[Item]], Sequence[Item]] = list,
    style: str = HEAD,
) -> Section:
    found = picture.get(name) or {"items": [], "total": 0}
    return Section(title, order(found["items"]), found["total"], columns, style)


class _Pace:
    """Rows per second of each stream and query, from two pictures."""

    def __init__(self, picture: Picture, before: Picture | None) -> None:
        self._picture = picture
        self._passed_s = 0.0 if before is None else (picture["atMs"] - before["atMs"]) / 1000
        self._before = {
            _key(item): item.get("rows", item.get("rowsDelivered")) or 0
            for name in ("streams", "queries")
            for item in (before or {}).get(name, {"items": ()})["items"]
        }

    def of(self, item: Item) -> float | None:
        """None where it was not there before."""
        was = self._before.get(_key(item))
        if was is None or self._passed_s <= 0:
            return None
        return max(0.0, ((item.get("rows", item.get("rowsDelivered")) or 0) - was) / self._passed_s)

    def text(self, item: Item) -> str:
        """As it is shown."""
        found = self.of(item)
        return NOTHING if found is None else rate(found)

    def fastest_first(self, items: Sequence[Item]) -> list[Item]:
        """Those of equal pace stay as they were."""
        return sorted(items, key=lambda item: -(self.of(item) or 0.0))


def _key(item: Item) -> tuple[object, ...]:
    return (item.get("id"), item.get("target"), item.get("channel"), item.get("principal"))


def _streams(pace: _Pace) -> list[Column]:
    return [
        Column("into", lambda item: item["target"], flexible=True),
        Column("channel", lambda item: item["channel"] or NOTHING, flexible=True),
        Column("rows/s", pace.text, is_number=True),
        Column("rows", lambda item: count(item["rows"]), is_number=True),
        Column("not acked", lambda item: count(item["rows"] - item["acked"]), is_number=True),
        Column("waiting", lambda item: size(item["waitingBytes"]), is_number=True),
    ]


def _batches(now_ms: int) -> list[Column]:
    return [
        Column("batch", lambda item: item["taskId"], flexible=True),
        Column("stream", lambda item: item["stream"], flexible=True),
        Column("state", lambda item: item["state"].lower()),
        Column("stage", lambda item: (item["stage"] or NOTHING).lower(), flexible=True),
        Column("rows", _progress, is_number=True),
        Column("sealed", lambda item: ago(item["sealedMs"], now_ms), is_number=True),
    ]


def _progress(batch: Item) -> str:
    done = batch["rowsWritten"] if batch["rowsWritten"] is not None else batch["rowsRead"]
    return count(batch["rows"]) if done is None else f"{count(done)} of {count(batch['rows'])}"


def _held() -> list[Column]:
    return [
        Column("batch", lambda item: item["taskId"], flexible=True),
        Column("stream", lambda item: item["stream"], flexible=True),
        Column("state", lambda item: item["state"].lower()),
        Column("rows", lambda item: count(item["rows"]), is_number=True),
        Column("why", lambda item: item["error"] or "no reason is known", flexible=True),
    ]


def _queries(pace: _Pace) -> list[Column]:
    return [
        Column("query", lambda item: item["sql"], flexible=True),
        Column("kind", lambda item: item["kind"].lower()),
        Column("rows/s", pace.text, is_number=True),
        Column("rows out", lambda item: count(item["rowsDelivered"]), is_number=True),
        Column("behind", lambda item: count(item["entriesBehind"]), is_number=True),
    ]


def _letters(now_ms: int) -> list[Column]:
    return [
        Column("id", lambda item: str(item["id"]), is_number=True),
        Column("stream", lambda item: item["stream"], flexible=True),
        Column("why", lambda item: item["message"], flexible=True),
        Column("row", lambda item: item["row"], flexible=True),
        Column("since", lambda item: ago(item["atMs"], now_ms), is_number=True),
    ]


# ── room ─────────────────────────────────────────────────────────────────────────────────────


def _shares(sections: Sequence[Section], room: int) -> list[int]:
    """Lines for each: a title for all, then line by line in turn to whoever needs more."""
    needs = [3 + len(section.items) if section.items else 1 for section in sections]
    shares = [min(1, need) for need in needs]
    while sum(shares) < room and shares != needs:
        for at, need in enumerate(needs):
            if shares[at] < need and sum(shares) < room:
                shares[at] += 1
    return shares


def _section(section: Section, width: int, lines: int) -> list[Text]:
    """Its title, its columns' names, its items, and a blank line if there is room for that."""
    title = Text(section.title, style=section.style)
    title.append(f"  {count(section.total)}", style=DIM)
    if lines < 3 or not section.items:
        return [title]
    shown = section.items[: lines - 2]
    blank = [Text()] if lines > 2 + len(section.items) else []
    return [title, *_table(section.columns, shown, width), *blank]


def _table(columns: Sequence[Column], items: Sequence[Item], width: int) -> list[Text]:
    rows = [[plain(column.cell(item)) for column in columns] for item in items]
    widths = _widths(columns, rows, width)
    head = _row([column.head for column in columns], columns, widths, DIM)
    return [head, *(_row(cells, columns, widths, "") for cells in rows)]


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    needed = [
        max(map(cell_len, (column.head, *cells)))
        for column, *cells in zip(columns, *rows, strict=True)
    ]
    left = width - GAP * (len(columns) - 1)
    left -= sum(each for column, each in zip(columns, needed, strict=True) if not column.flexible)
    # The shortest take what they need; what they leave is for the longer ones.
    flexible = sorted((each, at) for at, each in enumerate(needed) if columns[at].flexible)
    for place, (each, at) in enumerate(flexible):
        needed[at] = min(each, max(FLEXIBLE_LEAST, left // (len(flexible) - place)))
        left -= needed[at]
    return needed


def _row(
    cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int], style: str
) -> Text:
    line = Text(style=style)
    for at, (cell, column, width) in enumerate(zip(cells, columns, widths, strict=True)):
        part = Text(cell)
        part.truncate(width, overflow="ellipsis")
        blank = " " * (width - part.cell_len)
        line.append(blank + part.plain if column.is_number else part.plain + blank)
        line.append(" " * GAP if at < len(widths) - 1 else "")
    return line
