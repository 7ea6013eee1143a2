"""What a push query's properties ask for: where it starts, at which level, with tokens or not.

Names of ksqlDB's: ``auto.offset.reset`` with its prefixes, those of `protocol.tokens`. Our own:
``headrace.push.at``. What is not known is ignored, as ruled for all properties.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.seams import PushLevel
from protocol.arguments import QueryArguments
from protocol.errors import BadRequest
from protocol.tokens import token_to_continue, wants_tokens

OFFSET_RESET = "auto.offset.reset"
PUSH_AT = "headrace.push.at"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """``token``: go on from there, whatever ``earliest`` says."""

    earliest: bool = False
    level: PushLevel = PushLevel.COMMITTED
    tokens: bool = False
    token: str | None = None


def push_options(arguments: QueryArguments) -> PushOptions:
    """Raises `BadRequest`, which names the property."""
    properties = arguments.properties
    return PushOptions(
        earliest=_is_earliest(properties),
        level=_level(properties),
        tokens=wants_tokens(properties),
        token=token_to_continue(arguments.request_properties),
    )


def _is_earliest(properties: Mapping[str, Any]) -> bool:
    names = (OFFSET_RESET, f"ksql.streams.{OFFSET_RESET}", f"streams.{OFFSET_RESET}")
    text = next((str(properties[name]) for name in names if name in properties), "latest")
    match text.lower():
        case "latest":
            return False
        case "earliest":
            return True
    raise BadRequest(f"Invalid value '{text}' for {OFFSET_RESET}: it is earliest or latest")


def _level(properties: Mapping[str, Any]) -> PushLevel:
    text = str(properties.get(PUSH_AT, PushLevel.COMMITTED))
    try:
        return PushLevel(text.lower())
    except ValueError:
        raise BadRequest(
            f"Invalid value '{text}' for {PUSH_AT}: it is committed or spooled"
        ) from None
