"""Dead letters on the admin port: listed, shown, exported, edited, driven again, dropped.

Laws: memory does not grow with the number of letters: they are read in small pages, and long
answers are streams of lines. An answer that ends early ends with an error line and without its
end. A row is shown as text, never as parsed JSON: what was wrong with it must survive the showing.

Driving many again ends at the letter that was the last when it began: a row that fails once more
is a new letter, and would be met again for ever.
"""

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import msgspec
import orjson
import structlog
from quart import Blueprint, Quart, Response, g, request

from gateway.http.endpoints import json_response
from gateway.http.riders import ResponseBroken
from gateway.seams import DeadLetters, DeadLetterView
from protocol.errors import BadRequest, InternalError, KsqlError, NotFound

LIMIT_MAX = 1000
LIMIT_DEFAULT = 100
ANSWER_BYTES = 8 << 20
"""rows in one answer of the list; past it the answer is shorter than its limit"""

LINES_TYPE = "application/x-ndjson"

_PAGE = 32
_ID_MAX = (1 << 63) - 1
_DIGITS = 19
_STATES = ("open", "retried", "dropped", "all")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_T = TypeVar("_T")

_log = structlog.get_logger("headrace.http")

Id = Annotated[int, msgspec.Meta(ge=1, le=_ID_MAX)]


class Which(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body that says which letters a verdict is for: ``ids``, or all open ones that match."""

    ids: Annotated[list[Id], msgspec.Meta(min_length=1, max_length=LIMIT_MAX)] | None = None
    stream: str | None = None
    channel: str | None = None
    all: bool = False


class Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body that brings another row: an object, or the text of one."""

    row: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Filters:
    """Which letters match."""

    stream: str | None = None
    channel: str | None = None
    state: str = "open"


def add_dead_letters(
    app: Quart, letters: DeadLetters, require_running: Callable[[], None], row_bytes: int
) -> None:
    """Register the routes."""
    routes = Blueprint("dead_letters", __name__, url_prefix="/dead-letters")
    routes.before_request(require_running)
    _add_reading(routes, letters)
    _add_verdicts(routes, letters, row_bytes)
    app.register_blueprint(routes)


# ── looking ──────────────────────────────────────────────────────────────────────────────────


def _add_reading(routes: Blueprint, letters: DeadLetters) -> None:
    @routes.get("")
    async def some() -> Response:
        filters = _filters("limit", "after")
        limit = _number("limit", LIMIT_DEFAULT, 1, LIMIT_MAX)
        after = _number("after", 0, 0, _ID_MAX)
        return json_response(
            [letter_document(letter) for letter in await _some(letters, filters, after, limit)]
        )

    @routes.get("/export")
    async def export() -> Response:
        filters = _filters()
        first = await _page(letters, filters, 0)
        return _lines(_export(letters, filters, first))

    @routes.get("/<letter_id>")
    async def one(letter_id: str) -> Response:
        return json_response(letter_document(await _existing(letters, letter_id)))


async def _some(
    letters: DeadLetters, filters: Filters, after: int, limit: int
) -> list[DeadLetterView]:
    found: list[DeadLetterView] = []
    size_bytes = 0
    async with aclosing(_pages(letters, filters, await _page(letters, filters, after))) as pages:
        async for page in pages:
            for letter in page:
                found.append(letter)
                size_bytes += len(letter.raw)
                if len(found) == limit or size_bytes > ANSWER_BYTES:
                    return found
    return found


async def _export(
    letters: DeadLetters, filters: Filters, first: list[DeadLetterView]
) -> AsyncIterator[dict[str, Any]]:
    async for page in _pages(letters, filters, first):
        for letter in page:
            yield letter_document(letter)


async def _page(letters: DeadLetters, filters: Filters, after: int) -> list[DeadLetterView]:
    return await letters.find(
        stream=filters.stream,
        channel=filters.channel,
        state=filters.state,
        after_id=after,
        limit=_PAGE,
    )


async def _pages(
    letters: DeadLetters, filters: Filters, first: list[DeadLetterView]
) -> AsyncGenerator[list[DeadLetterView], None]:
    page = first
    while page:
        yield page
        page = await _page(letters, filters, page[-1].id)


async def _existing(letters: DeadLetters, letter_id: str) -> DeadLetterView:
    """Raises `NotFound`, as for whatever is no number."""
    number = _digits(letter_id)
    letter = await letters.get(number) if number is not None and number <= _ID_MAX else None
    if letter is None:
        raise NotFound(f"There is no dead letter {letter_id[:100]}")
    return letter


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────


def _add_verdicts(routes: Blueprint, letters: DeadLetters, row_bytes: int) -> None:
    retry = Verdict(letters, letters.retry, "retried")
    drop = Verdict(letters, letters.drop, "dropped")

    @routes.put("/<letter_id>")
    async def edit(letter_id: str) -> Response:
        letter = await _existing(letters, letter_id)
        raw = _new_row(_decoded(Edit).row)
        if len(raw) > row_bytes:
            raise BadRequest(f"The row is longer than http.row_limit_bytes ({row_bytes})")
        return json_response(letter_document(await letters.edit(letter.id, raw)))

    @routes.post("/<letter_id>/retry")
    async def retry_one(letter_id: str) -> Response:
        return await retry.on_one(letter_id)

    @routes.delete("/<letter_id>")
    async def drop_one(letter_id: str) -> Response:
        return await drop.on_one(letter_id)

    @routes.post("/retry")
    async def retry_several() -> Response:
        return await retry.on_several(_decoded(Which))

    @routes.post("/drop")
    async def drop_several() -> Response:
        return await drop.on_several(_decoded(Which))


class Verdict:
    """One thing to do with open letters: ``act`` does it to one, ``outcome`` is what it then is."""

    def __init__(
        self, letters: DeadLetters, act: Callable[[int], Awaitable[None]], outcome: str
    ) -> None:
        self._letters = letters
        self._act = act
        self._outcome = outcome

    async def on_one(self, letter_id: str) -> Response:
        """The answer to a verdict on one."""
        letter = await _existing(self._letters, letter_id)
        await self._act(letter.id)
        return json_response({"id": letter.id, "outcome": self._outcome})

    async def on_several(self, which: Which) -> Response:
        """The answer to a verdict on many: a line for each, as it is done."""
        filters = Filters(which.stream, which.channel)
        given = which.stream is not None or which.channel is not None or which.all
        if (which.ids is not None) == given:
            raise BadRequest(
                'Say which dead letters: {"ids":[…]}, or {"stream":…} or {"channel":…} or both, '
                'or {"all":true}'
            )
        if which.ids is not None:
            return _lines(self._each(which.ids))
        first = await _page(self._letters, filters, 0)
        last_id = 0
        async for page in _pages(self._letters, filters, first):
            last_id = page[-1].id
        return _lines(self._each_until(filters, last_id))

    async def _each(self, ids: Sequence[int]) -> AsyncIterator[dict[str, Any]]:
        for letter_id in ids:
            yield await self._done(letter_id)

    async def _each_until(self, filters: Filters, last_id: int) -> AsyncIterator[dict[str, Any]]:
        after = 0
        while after < last_id and (page := await _page(self._letters, filters, after)):
            for letter in page:
                if letter.id <= last_id:
                    yield await self._done(letter.id)
            after = page[-1].id

    async def _done(self, letter_id: int) -> dict[str, Any]:
        """The outcome for one. Raises `KsqlError` where it would be the same for all others."""
        try:
            await _existing(self._letters, str(letter_id))
            await self._act(letter_id)
        except KsqlError as refused:
            if refused.status >= 500:
                raise
            return {
                "id": letter_id,
                "outcome": "refused",
                "error_code": refused.code,
                "message": refused.message,
            }
        return {"id": letter_id, "outcome": self._outcome}


# ── what is asked ────────────────────────────────────────────────────────────────────────────


def _filters(*others: str) -> Filters:
    known = ("stream", "channel", "state", *others)
    for name in request.args:
        if name not in known:
            raise BadRequest(f"Unknown parameter `{name}`; there are: {', '.join(known)}")
    state = request.args.get("state", "open")
    if state not in _STATES:
        raise BadRequest(f"`state` must be one of {', '.join(_STATES)}: {state[:100]}")
    return Filters(request.args.get("stream"), request.args.get("channel"), state)


def _number(name: str, default: int, least: int, most: int) -> int:
    text = request.args.get(name, str(default))
    number = _digits(text)
    if number is None or not least <= number <= most:
        raise BadRequest(f"`{name}` must be a number from {least} to {most}: {text[:100]}")
    return number


def _digits(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else None


def _decoded(kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(g.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body cannot be used: {error}") from None


def _new_row(given: msgspec.Raw) -> bytes:
    """The row as one line: digits, order and spelling stay as they came."""
    raw = bytes(given)
    if raw[:1] == b'"':
        raw = _decoded_text(raw).encode().strip()
    elif raw[:1] != b"{":
        raise BadRequest("`row` must be a JSON object, or the text of one")
    if b"\n" not in raw and b"\r" not in raw:
        return raw
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The row stands on several lines and is no JSON: {error}") from None
    # In valid JSON line ends stand between tokens only.
    return raw.replace(b"\r", b" ").replace(b"\n", b" ")


def _decoded_text(raw: bytes) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body cannot be used: {error}") from None


# ── what is answered ─────────────────────────────────────────────────────────────────────────


def letter_document(letter: DeadLetterView) -> dict[str, Any]:
    """A letter as its JSON object; ``rowBase64`` only where the row is not UTF-8."""
    document: dict[str, Any] = {
        "id": letter.id,
        "stream": letter.stream,
        "channel": letter.channel,
        "offset": letter.offset,
        "batch": letter.batch,
        "line": letter.line,
        "code": letter.code,
        "message": letter.message,
        "at": iso_time(letter.at_ms),
        "state": letter.state,
        "tasks": letter.tasks,
        "row": letter.raw.decode(errors="replace"),
    }
    try:
        letter.raw.decode()
    except UnicodeDecodeError:
        document["rowBase64"] = base64.b64encode(letter.raw).decode()
    return document


def iso_time(epoch_ms: int) -> str:
    """UTC, to the millisecond."""
    at = _EPOCH + timedelta(milliseconds=epoch_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _lines(documents: AsyncIterator[dict[str, Any]]) -> Response:
    response = Response(_streamed(documents))
    response.timeout = None
    response.content_type = LINES_TYPE
    return response


async def _streamed(documents: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    try:
        async for document in documents:
            yield orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    except KsqlError as error:
        yield error.body() + b"\n"
    except Exception as fault:  # noqa: BLE001 - whatever it was, the client must hear of it
        _log.error("an answer of the admin port broke off", exc_info=fault)
        yield InternalError().body() + b"\n"
    else:
        return
    raise ResponseBroken
