"""Rows out of a real Druid: whole and untouched, or an error."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest

from gateway.seams import (
    InsertSpec,
    QueryBroken,
    QueryRefused,
    Result,
    RowLines,
    Submission,
    WarehouseQuery,
    WarehouseUnreachable,
)
from gateway.warehouse.druid.sql import literal
from gateway.warehouse.druid.warehouse import DruidWarehouse
from protocol.types import Column, parse_type
from tests.contract.cutting import cutting
from tests.contract.druid_fixture import MemoryBatch, opened_druid, unique, until

START = 1_700_000_000_000


class RunningDruid(Protocol):
    """What the `druid` fixture gives."""

    @property
    def router(self) -> str: ...


@pytest.fixture
async def warehouse(druid: RunningDruid) -> AsyncIterator[DruidWarehouse]:
    async with opened_druid(druid.router) as opened:
        yield opened


def query(sql: str) -> WarehouseQuery:
    return WarehouseQuery(sql=sql, query_id=uuid.uuid4().hex)


async def answer(warehouse: DruidWarehouse, sql: str) -> list[list[Any]]:
    result = await warehouse.query(query(sql))
    rows: list[list[Any]] = []
    async for chunk in result.rows():
        lines = chunk.raw.splitlines()
        assert len(lines) == chunk.count
        assert chunk.raw.endswith(b"\n")
        rows += map(json.loads, lines)
    await result.close()
    return rows


async def stored(
    warehouse: DruidWarehouse, columns: dict[str, str], rows: list[dict[str, Any]]
) -> str:
    """A new datasource with these rows, loaded."""
    name = unique("rows")
    declared = tuple(Column(n, parse_type(text)) for n, text in columns.items())
    stamped = ({"__arrival": START + at} | row for at, row in enumerate(rows))
    raw = b"".join(json.dumps(row).encode() + b"\n" for row in stamped)
    batch = uuid.uuid4().hex
    await warehouse.submit(
        Submission(
            batch_id=batch,
            task_id=batch,
            spec=InsertSpec(datasource=name, columns=declared),
            rows=len(rows),
            content=MemoryBatch(raw),
        )
    )
    await until(lambda: warehouse.queryable(name, batch, len(rows)))
    return name


async def test_values_come_back_as_they_were_sent(warehouse: DruidWarehouse) -> None:
    columns = {
        "s": "STRING",
        "i": "INTEGER",
        "l": "BIGINT",
        "d": "DOUBLE",
        "b": "BOOLEAN",
        "short": "DECIMAL(15, 2)",
        "long": "DECIMAL(30, 5)",
        "ts": "TIMESTAMP",
        "day": "DATE",
        "raw": "BYTES",
        "m": "MAP<STRING, BIGINT>",
        "n": "ARRAY<BIGINT>",
    }
    low = {
        "s": "é \"\\' 😀",
        "i": -(2**31),
        "l": -(2**63),
        "d": 1.5e300,
        "b": True,
        "short": 1234567890123.25,
        "long": "1234567890123456789012345.12345",
        "ts": "2023-11-14T22:13:20.001Z",
        "day": "2020-02-29",
        "raw": "AAEC/w==",
        "m": {"k": 1},
        "n": [1, 2],
    }
    high = low | {"s": "", "l": 2**63 - 1, "d": 5e-324, "b": False, "ts": -1}
    name = await stored(warehouse, columns, [low, high, dict.fromkeys(columns)])
    names = ", ".join(f'"{column}"' for column in columns)
    rows = await answer(warehouse, f'SELECT {names} FROM "{name}" ORDER BY __time')
    nested = [json.dumps({"k": 1}, separators=(",", ":")), "[1,2]"]
    texts = [low["day"], low["raw"], *nested]
    middle = [1234567890123.25, low["long"]]
    assert rows == [
        [low["s"], -(2**31), -(2**63), 1.5e300, 1, *middle, 1700000000001, *texts],
        ["", -(2**31), 2**63 - 1, 5e-324, 0, *middle, -1, *texts],
        [None] * len(columns),
    ]


async def test_an_array_of_strings_comes_back_in_its_order(warehouse: DruidWarehouse) -> None:
    sent = [["b", "a", "b"], ["x"]]
    name = await stored(warehouse, {"a": "ARRAY<STRING>"}, [{"a": a} for a in sent])
    rows = await answer(warehouse, f'SELECT MV_TO_ARRAY("a") FROM "{name}" ORDER BY __time')
    assert [row[0] for row in rows] == sent


async def test_columns_are_told_with_ksqldbs_types(warehouse: DruidWarehouse) -> None:
    columns = {"s": "STRING", "l": "BIGINT", "d": "DOUBLE", "m": "MAP<STRING, BIGINT>"}
    row = {"s": "x", "l": 1, "d": 1.5, "m": {"k": 1}}
    name = await stored(warehouse, columns, [row])
    found = await warehouse.columns(name)
    assert found is not None
    assert {c.name: str(c.type) for c in found} == {
        "__time": "TIMESTAMP",
        "s": "STRING",
        "l": "BIGINT",
        "d": "DOUBLE",
        "m": "STRING",
        "_batch": "STRING",
    }
    result = await warehouse.query(
        query(f'SELECT __time, "s", "l", "d", "l" > 0 AS "b", ARRAY["l"] AS "a" FROM "{name}"')
    )
    assert [(c.name, str(c.type), c.stored_as) for c in result.columns] == [
        ("__time", "TIMESTAMP", "TIMESTAMP"),
        ("s", "STRING", "VARCHAR"),
        ("l", "BIGINT", "BIGINT"),
        ("d", "DOUBLE", "DOUBLE"),
        ("b", "BOOLEAN", "BOOLEAN"),
        ("a", "ARRAY<BIGINT>", "ARRAY"),
    ]
    chunks = [chunk async for chunk in result.rows()]
    assert [c.raw for c in chunks] == [b'["2023-11-14T22:13:20.000Z","x",1,1.5,true,[1]]\n']
    await result.close()
    await result.close()


async def test_a_result_without_rows_has_its_columns(warehouse: DruidWarehouse) -> None:
    result = await warehouse.query(query("SELECT a FROM (VALUES (1)) AS t (a) WHERE a = 2"))
    assert [c.name for c in result.columns] == ["a"]
    assert [chunk async for chunk in result.rows()] == []
    await result.close()


async def test_every_literal_means_its_text_to_druid(warehouse: DruidWarehouse) -> None:
    texts = ["'", "''", '"', "\\", "\\'", "\\0041", "é", "😀'\\", "\n\t\r", "U&'x'", "--", "/*", ""]
    sql = ", ".join(f"{literal(text)} AS c{at}" for at, text in enumerate(texts))
    assert await answer(warehouse, f"SELECT {sql}") == [texts]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ('SELECT * FROM "no such table"', "Object 'no such table' not found"),
        ("SELECT FROM", "FROM"),
        ("SELECT no_such_function(1)", "No match found for function"),
        ("INSERT INTO t SELECT 1 PARTITIONED BY ALL", "INSERT"),
    ],
)
async def test_a_query_at_fault_is_refused_in_druids_words(
    warehouse: DruidWarehouse, sql: str, said: str
) -> None:
    with pytest.raises(QueryRefused, match=said):
        await warehouse.query(query(sql))


# ── broken connections ───────────────────────────────────────────────────────────────────────


async def _many(warehouse: DruidWarehouse) -> str:
    rows = [{"s": f"row {n} " + "x" * 60} for n in range(3000)]
    return await stored(warehouse, {"s": "STRING"}, rows)


async def _collect(result: Result, chunks: list[RowLines]) -> None:
    async for chunk in result.rows():
        chunks.append(chunk)


@pytest.mark.parametrize("left_bytes", [5_000, 100_000])
async def test_a_result_that_is_cut_is_broken_and_no_shorter_answer(
    druid: RunningDruid, warehouse: DruidWarehouse, left_bytes: int
) -> None:
    name = await _many(warehouse)
    async with cutting(druid.router) as (cutter, url), opened_druid(url) as other:
        cutter.left_bytes = left_bytes
        result = await other.query(query(f'SELECT * FROM "{name}"'))
        chunks: list[RowLines] = []
        with pytest.raises(QueryBroken):
            await _collect(result, chunks)
        assert all(chunk.raw.endswith(b"\n") for chunk in chunks)
        assert sum(chunk.count for chunk in chunks) < 3000
        cutter.left_bytes = None
        await result.close()


async def test_a_result_that_is_cut_before_its_columns_is_unreachable(
    druid: RunningDruid,
) -> None:
    async with cutting(druid.router) as (cutter, url), opened_druid(url) as other:
        cutter.left_bytes = 60
        with pytest.raises(WarehouseUnreachable):
            await other.query(query("SELECT 1"))


async def test_closing_early_cancels_the_query_by_its_id(
    druid: RunningDruid, warehouse: DruidWarehouse
) -> None:
    name = await _many(warehouse)
    async with cutting(druid.router) as (cutter, url), opened_druid(url) as other:
        asked = query(f'SELECT * FROM "{name}"')
        result = await other.query(asked)
        rows = result.rows()
        assert (await anext(rows)).count > 0
        await result.close()
        with pytest.raises(QueryBroken):
            await anext(rows)
        sent = b"".join(cutter.requests)
        assert b"DELETE /druid/v2/sql/%s " % asked.query_id.encode() in sent


async def test_a_result_read_to_its_end_is_not_cancelled(druid: RunningDruid) -> None:
    async with cutting(druid.router) as (cutter, url), opened_druid(url) as other:
        result = await other.query(query("SELECT 1"))
        assert [chunk async for chunk in result.rows()]
        await result.close()
        assert b"DELETE" not in b"".join(cutter.requests)
