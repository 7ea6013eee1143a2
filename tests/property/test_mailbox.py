"""The mailbox against a list; parts against the rows that they were cut from."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.query.mailbox import Mailbox, MailboxLimits
from gateway.query.places import Part, Place, parted
from gateway.seams import RowLines

ROWS = st.lists(st.integers(0, 10**9), min_size=1, max_size=40)


def lines(numbers: list[int]) -> RowLines:
    return RowLines(b"".join(b"[%d]\n" % n for n in numbers), len(numbers))


@given(st.lists(st.one_of(st.none(), ROWS), max_size=60), st.integers(1, 60), st.integers(1, 300))
def test_the_mailbox_is_a_queue_within_its_limits_but_for_one_part_of_its_own(
    steps: list[list[int] | None], rows: int, size_bytes: int
) -> None:
    mailbox = Mailbox(MailboxLimits(rows=rows, size_bytes=size_bytes))
    held: list[Part] = []
    for step in steps:
        if step is None:
            assert mailbox.take() == (held.pop(0) if held else None)
        else:
            part = Part(lines(step), Place(0), Place(1))
            fits = (
                sum(p.lines.count for p in [*held, part]) <= rows
                and sum(len(p.lines.raw) for p in [*held, part]) <= size_bytes
            )
            assert mailbox.put(part) is (fits or not held)
            held += [part] if fits or not held else []
        assert mailbox.rows == sum(p.lines.count for p in held)
        assert mailbox.size_bytes == sum(len(p.lines.raw) for p in held)
        assert len(mailbox) == len(held)
    mailbox.clear()
    assert (len(mailbox), mailbox.rows, mailbox.size_bytes) == (0, 0, 0)


@given(ROWS, st.integers(1, 100), st.integers(0, 9), st.integers(0, 9))
def test_parts_follow_one_another_and_hold_every_row_once(
    numbers: list[int], part_bytes: int, piece: int, before: int
) -> None:
    start, end = Place(4, piece, 0, before), Place(5)
    parts = parted(lines(numbers), start, end, part_bytes)
    assert b"".join(part.lines.raw for part in parts) == lines(numbers).raw
    assert [part.start for part in parts] == [start, *(part.end for part in parts[:-1])]
    assert parts[-1].end == end
    place = start
    for part in parts:
        assert part.lines.count == part.lines.raw.count(b"\n")
        assert len(part.lines.raw) <= part_bytes or part.lines.count == 1
        assert (part.start.skip, part.start.rows) == (place.skip, place.rows)
        place = place.plus(part.lines.count)


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=40), st.data())
def test_a_part_splits_at_any_row(numbers: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(numbers) - 1))
    start = Place(4, 2, 3, 7)
    first, rest = Part(lines(numbers), start, Place(5)).split(count)
    assert (first.lines, rest.lines) == (lines(numbers[:count]), lines(numbers[count:]))
    assert (first.start, first.end, rest.end) == (start, rest.start, Place(5))
    assert (first.end.after, first.end.skip, first.end.rows) == (4, 3 + count, 7 + count)
