"""The log of a gateway process: what a line looks like, whose it is, what never gets into it.

Lines go to standard error: JSON, one object a line, or for people on a terminal. Whatever speaks
through Python's own logging (Hypercorn, aiohttp, asyncio, warnings) comes out the same way. Rooms
log through `structlog` and know none of this.

One vocabulary: ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``event`` and, where they are
known, ``batch_id``, ``task_id``, ``query_id``, ``stream``, ``channel``, ``principal``, ``error``;
``exception`` has a traceback.

Law: what looks like a secret does not pass, under whatever key or in whatever text: the last
defence, behind code that logs none.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from gateway.config import Config, LogConfig

HIDDEN = "***"
_TELL_TOO_MUCH = ("hpack", "sqlglot")
"""Libraries that log what clients send: every header as it is decoded, statements as they are."""
_DEPTH_MAX = 4
_SECRET_KEY = re.compile(
    r"(?:^|[_\-.])(?:authorization|passwords?|passwd|pwd|secrets?|tokens?|cookies?|credentials?"
    r"|api[_-]?key|private[_-]?key)$",
    re.IGNORECASE,
)
_SECRET_TEXTS = (
    # Authorization: Bearer eyJ…, or the scheme and what follows it anywhere.
    (re.compile(r"\b(bearer|basic)\s+(?=\S*[\d._=+/-])[\w.~+/=-]{6,}", re.IGNORECASE), r"\1 ***"),
    # password=x, "token": "x", secret: x
    (
        re.compile(
            r"\b((?:\w+[_-])?(?:password|passwd|secret|token|authorization|api[_-]?key))"
            r"(\\*[\"']?\s*[:=]\s*\\*[\"']?)(?!\*\*\*|bearer\b|basic\b)[^\s\"',;&}\\]+",
            re.IGNORECASE,
        ),
        r"\1\2***",
    ),
    # scheme://user:password@host
    (re.compile(r"(://)[^/\s:@\"']*:[^/\s@\"']+@"), r"\1***@"),
    # One-time URLs that batches are fetched by.
    (re.compile(r"(/batches/)[\w.~-]{20,}"), r"\1***"),
)
_FIRST_KEYS = ("time", "level", "logger", "event")


def set_up_log(config: LogConfig, stream: TextIO | None = None) -> None:
    """Log as configured from now on, to ``stream`` (None: standard error)."""
    out = sys.stderr if stream is None else stream
    is_json = config.format == "json" or (config.format == "auto" and not out.isatty())
    render = _renderer(is_json=is_json, colors=out.isatty())
    set_level(config.level)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_SHARED, *render],
        logger_factory=_NamedFactory(out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.contextvars.merge_contextvars],
            processors=[
                _of_record,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_SHARED,
                *render,
            ],
        )
    )
    logging.getLogger().handlers[:] = [handler]
    for name in _TELL_TOO_MUCH:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)


def set_level(level: str) -> None:
    """Lines below ``level`` (debug, info, warning, error) are not written any more."""
    number = logging.getLevelNamesMapping()[level.upper()]
    # Loggers are bound anew at each line, so those that were made before hear of it too.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    # Other people's lines below a warning are of use to those who debug only.
    logging.getLogger().setLevel(
        number if number <= logging.DEBUG else max(number, logging.WARNING)
    )


def reload_level(config: Config) -> None:
    """Take up ``log.level`` of a new configuration."""
    set_level(config.log.level)


# ── processors ───────────────────────────────────────────────────────────────────────────────


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Hide whatever is, or looks like, a secret."""
    return {key: _redacted(key, value, _DEPTH_MAX) for key, value in event.items()}


def _redacted(key: str, value: Any, depth: int) -> Any:
    if _SECRET_KEY.search(key) and value is not None:
        return HIDDEN
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, bytes):
        return redacted_text(value.decode("utf-8", "replace"))
    if depth and isinstance(value, Mapping):
        return {str(inner): _redacted(str(inner), each, depth - 1) for inner, each in value.items()}
    if depth and isinstance(value, Sequence | set | frozenset):
        return [_redacted("", each, depth - 1) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redacted_text(str(value))


def redacted_text(text: str) -> str:
    """The text with what looks like a secret hidden."""
    for pattern, replacement in _SECRET_TEXTS:
        text = pattern.sub(replacement, text)
    return text


def _name(logger: WrappedLogger, _: str, event: EventDict) -> EventDict:
    """Which part of the gateway speaks."""
    if isinstance(logger, _Named):
        event["logger"] = logger.name
    return event


def _of_record(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Level and name of a line that came through Python's own logging."""
    record: logging.LogRecord = event["_record"]
    event["level"] = record.levelname.lower()
    event["logger"] = record.name
    return event


def _level(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event.setdefault("level", "error" if method == "exception" else method)
    return event


def _ordered(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    first = {key: event.pop(key) for key in _FIRST_KEYS if key in event}
    return {**first, **event}


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except TypeError:
        # Half a surrogate pair, or a number of more than 64 bits: what came is told all the same.
        return json.dumps(event, default=str, separators=(",", ":"))


_SHARED: list[Processor] = [
    _name,
    _level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    structlog.processors.format_exc_info,
    redact,
    _ordered,
]


def _renderer(*, is_json: bool, colors: bool) -> list[Processor]:
    if is_json:
        return [_json]
    return [
        structlog.dev.ConsoleRenderer(
            colors=colors, timestamp_key="time", pad_event_to=30, sort_keys=False
        )
    ]


# ── where lines go ───────────────────────────────────────────────────────────────────────────


class _Named(structlog.PrintLogger):
    """Prints lines for one name."""

    def __init__(self, name: str, file: TextIO) -> None:
        super().__init__(file)
        self.name = name


class _NamedFactory:
    """Makes loggers of the names that they are asked for by."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, *names: str) -> _Named:
        return _Named(names[0] if names else "headrace", self._file)
