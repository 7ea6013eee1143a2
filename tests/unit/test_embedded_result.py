"""A running SELECT on a real DuckDB: how far ahead it reads, and what it shows as declared."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import duckdb
import orjson
import pytest

from gateway.seams import QueryBroken
from gateway.warehouse.embedded.result import EmbeddedResult
from protocol.types import BIGINT, BOOLEAN, STRING, SqlType

ROWS = 100_000


class CountingPool(ThreadPoolExecutor):
    """One thread; ``taken`` is all the work it was ever given."""

    def __init__(self) -> None:
        super().__init__(1)
        self.taken: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.taken.append(super().submit(fn, *args, **kwargs))
        return self.taken[-1]


@pytest.fixture
def pool() -> Iterator[CountingPool]:
    with CountingPool() as made:
        yield made


@pytest.fixture
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    """Rows 0 to `ROWS`, each a second of 1970 and whether it is odd."""
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA data")
    connection.execute(
        'CREATE TABLE data.t AS SELECT make_timestamp_ms(n * 1000) AS "__time", n AS "^N", '
        f'n % 2 AS "^O^D^D", 0 AS "__seq" FROM range({ROWS}) AS r(n)'
    )
    yield connection
    connection.close()


SQL = 'SELECT __time, "N", "ODD" FROM t ORDER BY "N"'


async def started(
    duck: duckdb.DuckDBPyConnection, pool: CountingPool, *shows: SqlType | None
) -> EmbeddedResult:
    result = EmbeddedResult(duck.cursor(), pool)
    await result.start(SQL, shows)
    return result


async def test_it_is_one_chunk_ahead_of_its_reader_and_no_more(
    duck: duckdb.DuckDBPyConnection, pool: CountingPool
) -> None:
    result = await started(duck, pool)
    rows = result.rows()
    started_work = len(pool.taken)
    for chunks_read in range(1, 6):
        await anext(rows)
        assert len(pool.taken) - started_work == chunks_read + 1
    await result.close()
    with pytest.raises(QueryBroken):
        async for _ in rows:
            pass
    assert all(work.done() for work in pool.taken)


async def test_every_row_comes_once_and_in_order(
    duck: duckdb.DuckDBPyConnection, pool: CountingPool
) -> None:
    result = await started(duck, pool)
    raw = b"".join([chunk.raw async for chunk in result.rows()])
    numbers = [row[1] for row in map(orjson.loads, raw.splitlines())]
    assert numbers == list(range(ROWS))


async def test_values_come_as_declared_and_the_column_says_so(
    duck: duckdb.DuckDBPyConnection, pool: CountingPool
) -> None:
    result = await started(duck, pool, BIGINT, STRING, BOOLEAN)
    first = await anext(result.rows())
    rows = [orjson.loads(line) for line in first.raw.splitlines()]
    assert rows[:3] == [[0, 0, False], [1000, 1, True], [2000, 2, False]]
    assert [column.as_declared for column in result.columns] == [True, False, True]
    assert result.columns[0].stored_as == "TIMESTAMP"
    await result.close()


@pytest.mark.parametrize("shows", [(), (BIGINT,), (BIGINT,) * 4])
async def test_declared_types_of_another_number_of_columns_are_not_meant(
    duck: duckdb.DuckDBPyConnection, pool: CountingPool, shows: tuple[SqlType, ...]
) -> None:
    result = await started(duck, pool, *shows)
    first = await anext(result.rows())
    assert orjson.loads(first.raw.splitlines()[1]) == ["1970-01-01T00:00:01.000Z", 1, 1]
    assert not any(column.as_declared for column in result.columns)
    await result.close()
