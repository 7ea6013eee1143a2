"""Streams of the gateway's own, such as task reports, as push queries meet them.

They are found by name before anybody's streams are, and every level of theirs is the same log. It
lives in memory: a token for it is good while the process runs that gave it, and refused after.
"""

from collections.abc import Iterable

from gateway.query.evaluations import Evaluations
from gateway.query.feed import Feed
from gateway.query.push_options import PushOptions
from gateway.query.start import Start, find_start
from gateway.seams import OwnStream, PushLevel, PushLog, Source
from protocol.errors import BadRequest
from protocol.tokens import TokenBinding
from protocol.types import NameTextError, fold


class OwnStreams:
    """All of them, by name."""

    def __init__(self, streams: Iterable[OwnStream], evaluations: Evaluations) -> None:
        self._streams = {
            stream.source.name: (
                stream.source,
                Feed(dict.fromkeys(PushLevel, stream.log), evaluations),
            )
            for stream in streams
        }

    def find(self, source_text: str) -> tuple[Source, Feed] | None:
        """The stream that a query names, quotes and all as it was written; None: it is another."""
        try:
            return self._streams.get(fold(source_text))
        except NameTextError:
            return None

    def names_one(self, sql: str) -> str | None:
        """The name of one of them that the text holds, in whatever case and place."""
        text = sql.upper()
        return next((name for name in self._streams if name in text), None)


async def find_own_start(options: PushOptions, log: PushLog, binding: TokenBinding) -> Start:
    """As `find_start`; where a token is refused, it says how long those of such a stream hold."""
    try:
        return await find_start(options, log, binding)
    except BadRequest as refused:
        if options.token is None:
            raise
        raise BadRequest(
            f"{refused.message} {binding.source} is kept in memory and begins anew with the "
            "gateway: its tokens hold while the gateway runs that gave them."
        ) from refused
