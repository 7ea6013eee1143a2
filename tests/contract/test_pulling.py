"""The contract of `Warehouse.query`, for what a pull query may ask: engine, context, its end."""

import asyncio
from typing import Any

import orjson
import pytest
import pytest_asyncio

from gateway.seams import (
    ARRIVAL_FIELD,
    InsertSpec,
    QueryBroken,
    QueryEngine,
    QueryRefused,
    ResultColumn,
    Warehouse,
    WarehouseQuery,
)
from protocol.types import BIGINT, BOOLEAN, DOUBLE, STRING, TIMESTAMP, Column
from tests.contract.batches import DEADLINE_S, fresh, ident, stored

pytestmark = pytest.mark.asyncio(loop_scope="session")

START = 1_700_000_000_123
ROWS = 20_000
TRICKY = ('"', "\\", "],[", "é 🎏", "\n", "")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def table(warehouse: Warehouse) -> str:
    """A datasource of `ROWS` rows; K is the same in all of them."""
    spec = InsertSpec(
        datasource=fresh("pulled"),
        columns=(
            Column("K", STRING),
            Column("N", BIGINT),
            Column("D", DOUBLE),
            Column("S", STRING),
            Column("OK", BOOLEAN),
            Column("SEEN", TIMESTAMP),
        ),
    )
    raw = b"".join(orjson.dumps(row_of(n)) + b"\n" for n in range(ROWS))
    await stored(warehouse, spec, raw)
    return spec.datasource


def row_of(n: int) -> dict[str, Any]:
    row = {ARRIVAL_FIELD: START + n, "K": "k", "N": 2**60 + n}
    if n % 10:
        row |= {"D": n / 4, "S": f"{TRICKY[n % len(TRICKY)]}{n}", "OK": n % 2 == 0, "SEEN": n}
    return row


async def pulled(
    warehouse: Warehouse, sql: str, engine: QueryEngine, **context: Any
) -> tuple[tuple[ResultColumn, ...], list[Any]]:
    asked = WarehouseQuery(sql=sql, query_id=fresh("q"), engine=engine, context=context)
    result = await warehouse.query(asked)
    rows: list[Any] = []
    async for chunk in result.rows():
        lines = chunk.raw.splitlines()
        assert len(lines) == chunk.count
        rows += map(orjson.loads, lines)
    await result.close()
    return result.columns, rows


async def test_both_engines_give_the_same_columns_and_every_row(
    warehouse: Warehouse, table: str
) -> None:
    sql = f'SELECT __time, "K", "N", "D", "S", "OK", "SEEN", "N" > 5 AS b FROM {ident(table)}'
    native = await pulled(warehouse, sql, QueryEngine.NATIVE)
    task = await pulled(warehouse, sql, QueryEngine.TASK)
    assert task[0] == native[0]
    assert len(native[1]) == ROWS
    assert sorted(task[1]) == sorted(native[1])
    assert sorted(row[2] for row in native[1]) == [2**60 + n for n in range(ROWS)]


@pytest.mark.parametrize("engine", QueryEngine)
async def test_a_result_without_rows_has_its_columns(
    warehouse: Warehouse, table: str, engine: QueryEngine
) -> None:
    columns, rows = await pulled(
        warehouse, f'SELECT "N", "S" FROM {ident(table)} WHERE "N" < 0', engine
    )
    assert [(column.name, column.type) for column in columns] == [("N", BIGINT), ("S", STRING)]
    assert rows == []


@pytest.mark.parametrize("engine", QueryEngine)
@pytest.mark.parametrize("sql", ["SELECT FROM", 'SELECT "no" FROM {t}', "SELECT * FROM nowhere"])
async def test_a_query_at_fault_is_refused_by_either_engine(
    warehouse: Warehouse, table: str, engine: QueryEngine, sql: str
) -> None:
    with pytest.raises(QueryRefused):
        await pulled(warehouse, sql.format(t=ident(table)), engine)


@pytest.mark.parametrize("engine", QueryEngine)
async def test_context_is_taken_by_either_engine(
    warehouse: Warehouse, table: str, engine: QueryEngine
) -> None:
    given = {"useCache": False, "priority": 1, "sqlTimeZone": "UTC", "timeout": 60_000}
    sql = f"SELECT COUNT(*) FROM {ident(table)} WHERE \"K\" = 'k'"
    assert (await pulled(warehouse, sql, engine, **given))[1] == [[ROWS]]


@pytest.mark.parametrize("engine", QueryEngine)
async def test_a_cancelled_caller_leaves_nothing_that_is_in_the_way(
    warehouse: Warehouse, table: str, engine: QueryEngine
) -> None:
    asked = WarehouseQuery(sql=endless(table), query_id=fresh("q"), engine=engine)
    starting = asyncio.create_task(warehouse.query(asked))
    await asyncio.wait([starting], timeout=0.5)
    assert not starting.done(), "it takes for ever"
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    # A query of the same kind needs what the cancelled one held: a thread, a task slot.
    async with asyncio.timeout(DEADLINE_S):
        assert (await pulled(warehouse, f"SELECT COUNT(*) FROM {ident(table)}", engine))[1] == [
            [ROWS]
        ]


async def test_a_result_that_is_closed_by_another_is_broken_for_its_reader(
    warehouse: Warehouse, table: str
) -> None:
    asked = WarehouseQuery(sql=f"SELECT * FROM {ident(table)}", query_id=fresh("q"))
    result = await warehouse.query(asked)
    seen = 0

    async def read() -> None:
        nonlocal seen
        async for chunk in result.rows():
            seen += chunk.count
            await result.close()

    with pytest.raises(QueryBroken):
        await read()
    assert 0 < seen < ROWS


def endless(table: str) -> str:
    """A SELECT that is not done for years, on either warehouse."""
    name = ident(table)
    other = f'(SELECT "K" FROM {name} LIMIT 15000)'
    return (
        f'SELECT MAX(a."N" + b."N") FROM {name} a JOIN (SELECT "K", "N" FROM {name} LIMIT 15000) b '
        f'ON a."K" = b."K" JOIN {other} c ON a."K" = c."K" JOIN {other} d ON a."K" = d."K"'
    )
