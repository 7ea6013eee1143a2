"""TCP under the test peer: connecting, and what the other side has not read yet (Linux, IPv4)."""

import socket
from collections.abc import Iterator


def connected(
    address: tuple[str, int], receive_buffer_bytes: int | None, deadline_s: float
) -> socket.socket:
    """A connected socket that sends at once; a small receive buffer makes TCP push back early."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_buffer_bytes is not None:
        # Before connect: the window that TCP offers is fixed by it.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.settimeout(deadline_s)
    try:
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made


def unread_bytes(sock: socket.socket) -> int:
    """What of ours is not yet acked by the server's kernel, or not yet read by the server."""
    ours, theirs = sock.getsockname()[1], sock.getpeername()[1]
    total = 0
    for local, remote, queues in _tcp_table():
        if (local, remote) == (ours, theirs):
            total += int(queues.split(":")[0], 16)
        elif (local, remote) == (theirs, ours):
            total += int(queues.split(":")[1], 16)
    return total


def _tcp_table() -> Iterator[tuple[int, int, str]]:
    """Local port, remote port, ``tx:rx`` of every IPv4 connection (proc(5), net/tcp)."""
    with open("/proc/net/tcp") as table:
        next(table)
        for line in table:
            fields = line.split()
            local, remote = (int(end.split(":")[1], 16) for end in fields[1:3])
            yield local, remote, fields[4]
