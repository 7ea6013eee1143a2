"""Where a subscription starts: at the log's end, at the oldest retained row, or at a token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from gateway.query.places import Place
from gateway.query.push_options import PushOptions
from gateway.seams import PushLevel, PushLog
from protocol.errors import BadRequest
from protocol.tokens import TokenBinding


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A subscription's beginning.

    ``gaps``: entries that were not there when it started, by the one before: they are no loss of
    this subscription's. ``tokens``: whether it sends any.
    """

    place: Place
    level: PushLevel
    binding: TokenBinding
    tokens: bool = False
    gaps: Mapping[int, int] = field(default_factory=dict)

    def follows(self, position: int) -> int:
        """The position of the entry that comes after ``position``."""
        return self.gaps.get(position, position + 1)


async def find_start(options: PushOptions, log: PushLog, binding: TokenBinding) -> Start:
    """Raises `BadRequest` for a token that names no place of this log which is still there."""
    place, gaps = Place(log.end()), {}
    if options.token is not None:
        place = await _continued(options.token, log, binding)
    elif options.earliest:
        ranges = await log.retained()
        place = Place(ranges[0][0] - 1)
        gaps = {one[1]: other[0] for one, other in pairwise(ranges)}
    return Start(
        place=place, level=log.level, binding=binding, tokens=options.tokens, gaps=gaps
    )  # fmt: skip


async def _continued(token: str, log: PushLog, binding: TokenBinding) -> Place:
    after, rows = binding.decode(token)
    first, end = (await log.retained())[-1]
    if after < first - 1:
        raise BadRequest(
            f"The continuation token is older than the retention: it names position {after} of the "
            f"log, and what follows {first - 1} is retained ({log.kept_by}). Start again with "
            "auto.offset.reset earliest or latest."
        )
    if after > end or (after == end and rows):
        raise BadRequest(
            f"The continuation token names position {after} of a log that ends at {end}: the data "
            "folder is older than the token. Start again with auto.offset.reset."
        )
    return Place(after, skip=rows, rows=rows)
