"""The rows that every contender gets: 6 fields, 120 bytes a line with its newline, all of one day.

They are made from their number alone, so any two runs move the same bytes.
"""

from collections.abc import Iterator
from pathlib import Path

ROW_BYTES = 120
DAY_START_MS = 1_700_006_400_000
"""2023-11-15T00:00:00Z; rows lie 100 ms apart, so 500,000 of them stay within the day"""

STREAM_COLUMNS = "TS BIGINT, ID BIGINT, USERNAME STRING, KIND STRING, AMOUNT DOUBLE, NOTE STRING"
STREAM_OPTIONS = "timestamp='TS', partitioned_by='DAY', value_format='JSON'"

KINDS = ("view", "click", "cart", "order")


def row_line(number: int) -> bytes:
    """Row ``number`` as its line."""
    head = (
        f'{{"TS":{DAY_START_MS + number * 100},"ID":{number},'
        f'"USERNAME":"user{number * 7919 % 10_000:04}","KIND":"{KINDS[number % 4]}",'
        f'"AMOUNT":{number * 31 % 100_000 / 100},"NOTE":"'
    )
    return (head + "n" * (ROW_BYTES - len(head) - 3) + '"}\n').encode()


def row_lines(count: int) -> Iterator[bytes]:
    """The first ``count`` rows."""
    return map(row_line, range(count))


def write_rows(path: Path, count: int) -> None:
    """A file of the first ``count`` rows."""
    with path.open("wb") as file:
        file.writelines(row_lines(count))
