"""What the prompt completes: the words of SQL, and the names that the gateway knows.

Law: the prompt never waits for it. Names are asked for in the background, and may be old.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from gateway.client import Client, ClientError

REFRESH_S = 30.0
NAMES_MAX = 20_000
"""names that are kept"""

_WORDS = """
AND ARRAY AS ASC BETWEEN BIGINT BOOLEAN BY BYTES CASE CAST CHANGES CLOSE COUNT CREATE DATE DECIMAL
DEFINE DESC DESCRIBE DISTINCT DOUBLE DROP ELSE EMIT END EXISTS EXPLAIN EXTENDED FROM GROUP HAVING
IF IN INSERT INTEGER INTO IS JOIN LEFT LIKE LIMIT LIST MAP MAX MIN NOT NULL OR ORDER PARTITIONED
PROPERTIES QUERIES REPLACE SELECT SET SHOW STREAM STREAMS STRING STRUCT SUM TABLE TABLES TERMINATE
THEN TIME TIMESTAMP UNDEFINE UNION UNSET VALUES VARIABLES WHEN WHERE WITH
"""
KEYWORDS = tuple(_WORDS.split())


class Vocabulary:
    """Words, and names as of the last look at the gateway."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ("HEADRACE_TASKS",)
        self._stale = asyncio.Event()

    def completions(self, begun: str) -> Iterator[str]:
        """Words that begin like this, whatever its case; the gateway's names first."""
        if not begun:
            return
        wanted = begun.upper()
        for word in (*self._names, *KEYWORDS):
            if word.upper().startswith(wanted) and word != begun:
                yield word

    def refresh(self) -> None:
        """Names may have changed: look soon."""
        self._stale.set()

    async def keep(self, client: Client) -> None:
        """Look at the gateway now, whenever names may have changed, and now and then; for ever."""
        while True:
            self._stale.clear()
            # A prompt without a gateway still works: old names stay.
            with contextlib.suppress(ClientError):
                self._names = await _names(client)
            try:
                async with asyncio.timeout(REFRESH_S):
                    await self._stale.wait()
            except TimeoutError:
                continue


async def _names(client: Client) -> tuple[str, ...]:
    found = dict.fromkeys(("HEADRACE_TASKS",))
    columns: dict[str, None] = {}
    for entity in await client.ksql("LIST STREAMS EXTENDED; LIST TABLES EXTENDED;"):
        for source in entity.get("sourceDescriptions", ()):
            found[source["name"]] = None
            columns |= dict.fromkeys(field["name"] for field in source["fields"])
    return tuple(found | columns)[:NAMES_MAX]
