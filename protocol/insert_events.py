"""What comes of the bytes of an insert stream: good rows, and bad ones that it goes on after.

Law: sequence numbers of the events of one stream are dense from its first row that is not held
already, in the order of the events.
"""

from dataclasses import dataclass

from protocol.errors import RowRejected


@dataclass(frozen=True, slots=True)
class RowsChecked:
    """Rows ``[first_seq, first_seq + count)`` are good; ``raw`` holds them as lines."""

    first_seq: int
    count: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class RowRefused:
    """Row ``seq`` failed its check and the stream goes on; ``raw`` as `protocol.rows.Checked`.

    `InsertsStream.fail` is to be told once the row is kept elsewhere.
    """

    seq: int
    raw: bytes
    rejected: RowRejected


InsertEvent = RowsChecked | RowRefused
