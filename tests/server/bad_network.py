"""A bad network on loopback: a TCP proxy before a gateway whose connections have a fate each.

Owns: its port, the connections through it, what becomes of each. Must never know: HTTP/2, but for
the two answers that something in between gives by itself (`_page`, `_busy`).
Law: the fates come from the dice of a seed; after `calm` there is nothing but forwarding.

What may become of a connection:

    page, busy, mute        a 502 page in HTTP/1.1, 429 or 503 in HTTP/2, no word at all
    reset, close, half      after so many bytes of one direction: RST, FIN of both sides, of one
    stall, trickle          after so many bytes: a pause, shorter or longer than a client waits;
                            byte by byte for a while
    swallow                 after so many bytes down nothing more comes, and the connection stays
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events

HOST = "127.0.0.1"
PIECE_BYTES = 16 << 10
PAGE = (
    b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<h1>502</h1>"
)
INSTEAD = ("page", "busy", "mute")
WITHIN = ("reset", "close", "half", "stall", "trickle", "swallow", "reset", "close")
TRICKLED_BYTES = 400

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a connection; ``down``: of the direction to the client."""

    what: str = "fair"
    down: bool = False
    after_bytes: int = 0
    pause_s: float = 0.0


class BadNetwork:
    """Between clients and ``upstream``. A stall lasts up to twice ``dead_after_s``."""

    def __init__(
        self, upstream: tuple[str, int], chance: random.Random, dead_after_s: float
    ) -> None:
        self.played: Counter[str] = Counter()
        """what became of connections so far"""
        self._upstream = upstream
        self._chance = chance
        self._dead_after_s = dead_after_s
        self._port = 0
        self._calm = False
        self._server: asyncio.Server | None = None
        self._served: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens, the same all the time."""
        return f"http://{HOST}:{self._port}"

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._served)

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accepted, HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse connections, and break those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        while self._served:
            for task in self._served:
                task.cancel()
            await asyncio.wait(self._served)

    async def away(self, for_s: float) -> None:
        """Refuse connections for a while."""
        await self.close()
        self.played["away"] += 1
        await asyncio.sleep(for_s)
        await self.open()

    async def calm(self) -> None:
        """From now on it is a good network; what was open breaks, for it may be stalled."""
        self._calm = True
        await self.close()
        await self.open()

    def _fate(self) -> Fate:
        dice = self._chance
        if self._calm:
            return Fate()
        if dice.random() < 0.25:
            return Fate(dice.choice(INSTEAD))
        after_bytes = int(2 ** dice.uniform(0, 17))
        pause_s = self._dead_after_s * dice.choice((0.2, 0.6, 2.0))
        return Fate(dice.choice(WITHIN), dice.random() < 0.5, after_bytes, pause_s)

    # ── connections ──

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._served.add(task)

        def over(ended: "asyncio.Task[None]") -> None:
            # Also of one that was cancelled before it began.
            if ended.cancelled():
                _reset(writer)
            writer.transport.abort()
            self._served.discard(ended)

        task.add_done_callback(over)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fate = self._fate()
        self.played[fate.what] += 1
        instead: dict[str, Callable[[Pair], Awaitable[None]]] = {
            "page": _page,
            "busy": self._busy,
            "mute": _mute,
        }
        with contextlib.suppress(OSError, EOFError):
            if fate.what in instead:
                await instead[fate.what]((reader, writer))
            else:
                await self._forward((reader, writer), fate)

    async def _forward(self, client: Pair, fate: Fate) -> None:
        server = await _connected(self._upstream)
        up = asyncio.create_task(self._one_way(client[0], server[1], client, fate, down=False))
        down = asyncio.create_task(self._one_way(server[0], client[1], client, fate, down=True))
        try:
            await asyncio.gather(up, down)
        finally:
            up.cancel()
            down.cancel()
            await asyncio.wait([up, down])
            server[1].transport.abort()

    async def _one_way(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        client: Pair,
        fate: Fate,
        *,
        down: bool,
    ) -> None:
        left = fate.after_bytes if fate.down == down and fate.what != "fair" else None
        trickled = 0
        while piece := await source.read(PIECE_BYTES if not trickled else 1):
            if trickled:
                trickled -= 1
                await asyncio.sleep(0)
            if left is not None and len(piece) >= left:
                sink.write(piece[:left])
                await sink.drain()
                piece, left = piece[left:], None
                if await self._struck(sink, client[1], source, fate):
                    return
                if fate.what == "trickle":
                    for at in range(min(len(piece), TRICKLED_BYTES)):
                        sink.write(piece[at : at + 1])
                        await asyncio.sleep(0)
                    piece, trickled = piece[TRICKLED_BYTES:], TRICKLED_BYTES
            elif left is not None:
                left -= len(piece)
            sink.write(piece)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()

    async def _struck(
        self,
        sink: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        source: asyncio.StreamReader,
        fate: Fate,
    ) -> bool:
        """The fate comes; True: this direction is over."""
        match fate.what:
            case "reset":
                _reset(client)
                raise ConnectionAbortedError
            case "close":
                client.close()
                raise ConnectionAbortedError
            case "half":
                sink.write_eof()
                while await source.read(PIECE_BYTES):
                    pass
                return True
            case "stall":
                await asyncio.sleep(fate.pause_s)
            case "swallow":
                while await source.read(PIECE_BYTES):
                    pass
                return True
        return False

    async def _busy(self, client: Pair) -> None:
        """Every request has no room: 429 or 503, sometimes with Retry-After."""
        reader, writer = client
        peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        peer.initiate_connection()
        writer.write(peer.data_to_send())
        while data := await reader.read(PIECE_BYTES):
            for event in peer.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    status = self._chance.choice(("429", "503"))
                    after = self._chance.choice(
                        ([], [("retry-after", "0")], [("retry-after", "1")])
                    )
                    peer.send_headers(event.stream_id or 0, [(":status", status), *after], True)
            writer.write(peer.data_to_send())


async def _connected(address: tuple[str, int]) -> Pair:
    """A connection; one that comes when nobody waits for it any more is given up."""
    connecting = asyncio.ensure_future(asyncio.open_connection(*address))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            (await connecting)[1].transport.abort()
        raise


async def _page(client: Pair) -> None:
    reader, writer = client
    await reader.read(PIECE_BYTES)
    writer.write(PAGE)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def _mute(client: Pair) -> None:
    while await client[0].read(PIECE_BYTES):
        pass


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN (socket(7), SO_LINGER)."""
    held = writer.get_extra_info("socket")
    if held is not None and held.fileno() >= 0:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def bad_network(
    upstream: tuple[str, int], chance: random.Random, dead_after_s: float
) -> AsyncIterator[BadNetwork]:
    """A bad network before a gateway, up for the block."""
    made = BadNetwork(upstream, chance, dead_after_s)
    await made.open()
    try:
        yield made
    finally:
        await made.close()
