"""The texts of statements, and what their entities say.

Pure. A name is put into a statement so that it can be nothing else than a name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.client.errors import AnswerBroken

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class ChannelOffsets:
    """The next offset of a channel at each level: rows below it hold that level."""

    spooled: int
    committed: int
    queryable: int


def name_text(name: str) -> str:
    """A stream's name or a query's id in a statement.

    A plain one stands as it is, and folds as in ksqlDB; so does one in back-ticks; any other is
    put into back-ticks. Raises ValueError for one that is empty or holds a control character.
    """
    if not name or not name.isprintable():
        raise ValueError(f"expected a name, got {name!r}")
    if _PLAIN.fullmatch(name):
        return name
    if len(name) > 2 and name[0] == name[-1] == "`":
        name = name[1:-1].replace("``", "`")
    return "`" + name.replace("`", "``") + "`"


def entity_part(entities: list[dict[str, Any]], member: str) -> Any:
    """A member of the last entity. Raises `AnswerBroken`."""
    if not entities or not isinstance(entities[-1], dict) or member not in entities[-1]:
        raise AnswerBroken(f"expected an entity with {member}, got {str(entities)[:200]}")
    return entities[-1][member]


def channel_offsets(reply: Any) -> ChannelOffsets:
    """The reply of ``GET /channels``. Raises `AnswerBroken`."""
    try:
        found: Mapping[str, int] = reply["nextOffset"]
        levels = (found["spooled"], found["committed"], found["queryable"])
    except (KeyError, TypeError) as exc:
        raise AnswerBroken(f"expected a channel's offsets, got {str(reply)[:200]}") from exc
    return ChannelOffsets(*levels)
