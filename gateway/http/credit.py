"""Inbound flow control: what a peer may send, what it has sent, what it gets back. Pure.

Credit for bytes goes back when the one who took them says so (rows: once they are on disk), not
when they arrive; that is the back-pressure. It is given in portions, not by the byte.

A sender that does not count its own bytes (ksqlDB's Java client writes inserts around its flow
controller) is broken by credit: each WINDOW_UPDATE lifts its counter until it overflows. So a
stream that overran its window, or announced itself as such a client, gets none any more, neither
for itself nor for the connection; what it sends is bounded by bytes that wait, not by the window.

Source: RFC 9113 §5.2, §6.9; DESIGN §6 ruling 1.
"""

WINDOW_MAX = 2**31 - 1


class Credit:
    """One inbound window: a stream's, or the connection's."""

    def __init__(self, window_bytes: int, *, gives: bool = True) -> None:
        self._window_bytes = window_bytes
        self._left_bytes = window_bytes
        self._owed_bytes = 0
        self._gives = gives

    def __repr__(self) -> str:
        return f"<Credit left={self._left_bytes} owed={self._owed_bytes} gives={self._gives}>"

    @property
    def gives(self) -> bool:
        """Whether credit goes back at all."""
        return self._gives

    @property
    def left_bytes(self) -> int:
        """What the peer may send now; below 0 where it has sent more."""
        return self._left_bytes

    @property
    def overrun_bytes(self) -> int:
        """By how much the peer has sent more than it was allowed to."""
        return max(0, -self._left_bytes)

    def stop_giving(self) -> None:
        """The sender does not count: no more credit."""
        self._gives = False
        self._owed_bytes = 0

    def received(self, flow_bytes: int) -> None:
        """The peer sent so many bytes."""
        self._left_bytes -= flow_bytes

    def done(self, flow_bytes: int) -> int:
        """So many bytes are done with; returns the increment to send now, 0 for none yet."""
        if not self._gives:
            return 0
        self._owed_bytes += flow_bytes
        # A quarter of the window: few updates while bytes flow, and never a stall while they do.
        if self._owed_bytes * 4 < self._window_bytes:
            return 0
        increment, self._owed_bytes = self._owed_bytes, 0
        self._left_bytes += increment
        return increment
