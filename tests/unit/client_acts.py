"""What a scripted server does, request by request: acts that the client's tests put together."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import orjson

from tests.unit.client_peer import Exchange

ACK = b'{"status":"ok","seq":%d}\n'
AGAIN = b'{"status":"ok","seq":%d,"duplicate":true}\n'
HEADER = b'{"queryId":"q%d","columnNames":["A"],"columnTypes":["BIGINT"]}\n'
FENCED = "A newer connection has taken channel 'edge' over: this stream is fenced"

Act = Callable[[Exchange, dict[str, Any]], Awaitable[None]]


class Acts:
    """One act for each request, in turn; the arguments of each are kept."""

    def __init__(self, *acts: Act) -> None:
        self.asked: list[dict[str, Any]] = []
        self._acts = iter(acts)

    async def __call__(self, exchange: Exchange) -> None:
        act = next(self._acts)
        if exchange.headers[":path"] == "/query-stream":
            text = b"".join([data async for data in whole(exchange)])
        else:
            text = await exchange.line()
        asked = orjson.loads(text)
        self.asked.append(asked)
        await act(exchange, asked)


async def whole(exchange: Exchange) -> AsyncIterator[bytes]:
    while (data := await exchange.read()) is not None:
        yield data


def rows(count: int) -> Iterator[dict[str, int]]:
    return ({"A": number} for number in range(count))


def error(seq: int, code: int, message: str = "bad") -> bytes:
    line = {"@type": "InsertError", "status": "error", "seq": seq}
    return orjson.dumps(line | {"message": message, "error_code": code}) + b"\n"


def taking(stands_at: int, acks: int, then: Act | None = None) -> Act:
    """200, acks for so many rows, and then something; or acks of all, and the end."""

    async def act(exchange: Exchange, asked: dict[str, Any]) -> None:
        exchange.respond(headers={"headrace-next-offset": str(stands_at)})
        if then is None:
            count = len([line async for line in exchange.lines()])
            exchange.send(b"".join(ACK % seq for seq in range(count)), end=True)
            return
        lines = exchange.lines()
        for seq in range(acks):
            await anext(lines)
            exchange.send(ACK % seq)
        await then(exchange, asked)

    return act


async def drop(exchange: Exchange, _asked: dict[str, Any]) -> None:
    exchange.peer.drop()


def ending(line: bytes) -> Act:
    async def act(exchange: Exchange, _asked: dict[str, Any]) -> None:
        exchange.send(line)
        exchange.end()

    return act


def refusing(status: int, code: int, message: str = "no", **headers: str) -> Act:
    async def act(exchange: Exchange, _asked: dict[str, Any]) -> None:
        body = orjson.dumps({"error_code": code, "message": message})
        exchange.respond(status, body, {name.replace("_", "-"): v for name, v in headers.items()})

    return act


async def reset(exchange: Exchange, _asked: dict[str, Any]) -> None:
    exchange.reset(2)


async def goaway_and_end(exchange: Exchange, _asked: dict[str, Any]) -> None:
    exchange.peer.goaway(last_stream_id=exchange.stream_id)
    exchange.end()


async def wait_for_end(exchange: Exchange, _asked: dict[str, Any]) -> None:
    while await exchange.read() is not None:
        pass


def session(number: int, body: bytes, then: Act) -> Act:
    async def act(exchange: Exchange, asked: dict[str, Any]) -> None:
        exchange.respond()
        exchange.send(HEADER % number + body)
        await then(exchange, asked)

    return act


def token(text: str) -> bytes:
    return orjson.dumps({"continuationToken": text}) + b"\n"
