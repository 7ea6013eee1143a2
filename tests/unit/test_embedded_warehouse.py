"""What the embedded warehouse promises beyond the contract: its file, its one writer, its walls."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.seams import (
    ARRIVAL_FIELD,
    InsertSpec,
    QueryBroken,
    QueryRefused,
    Submission,
    SubmissionRefused,
    Submitted,
    TaskFailure,
    TaskState,
    TimeEncoding,
    WarehouseQuery,
    WarehouseUnreachable,
)
from gateway.warehouse.embedded import EmbeddedWarehouse
from gateway.warehouse.embedded.warehouse import MAX_BATCHES
from protocol.types import BIGINT, BOOLEAN, DOUBLE, STRING, TIMESTAMP, Column, parse_type

N = (Column("N", BIGINT),)


class Bytes:
    def __init__(self, raw: bytes) -> None:
        self.size_bytes = len(raw)
        self._raw = raw

    def read(self, start: int = 0) -> Iterator[bytes]:
        yield self._raw[start:]


class BrokenDisk(Bytes):
    def read(self, start: int = 0) -> Iterator[bytes]:
        raise OSError("the disk is gone")


def ndjson(*rows: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps({ARRIVAL_FIELD: 0, **row}) + b"\n" for row in rows)


def spec(columns: tuple[Column, ...] = N, **more: Any) -> InsertSpec:
    return InsertSpec(datasource="t", columns=columns, **more)


def batch(name: str, raw: bytes, of: InsertSpec | None = None, rows: int = -1) -> Submission:
    return Submission(
        batch_id=name,
        task_id=name,
        spec=of or spec(),
        rows=raw.count(b"\n") if rows < 0 else rows,
        content=Bytes(raw),
    )


async def settled(warehouse: EmbeddedWarehouse, task_id: str) -> TaskState:
    async with asyncio.timeout(60):
        while True:
            state = (await warehouse.statuses([task_id]))[task_id]
            if state is not TaskState.RUNNING:
                return state
            await asyncio.sleep(0.002)


async def stored(warehouse: EmbeddedWarehouse, submission: Submission) -> None:
    assert await warehouse.submit(submission) is Submitted.ACCEPTED
    state = await settled(warehouse, submission.task_id)
    assert state is TaskState.SUCCESS, await warehouse.failure(submission.task_id)


async def failed(warehouse: EmbeddedWarehouse, submission: Submission) -> TaskFailure:
    assert await warehouse.submit(submission) is Submitted.ACCEPTED
    assert await settled(warehouse, submission.task_id) is TaskState.FAILED
    assert await warehouse.count("t", submission.batch_id) == 0
    return await warehouse.failure(submission.task_id)


async def rows(warehouse: EmbeddedWarehouse, sql: str) -> list[Any]:
    result = await warehouse.query(WarehouseQuery(sql=sql, query_id="q"))
    return [orjson.loads(line) async for c in result.rows() for line in c.raw.splitlines()]


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
async def warehouse(tmp_path: Path) -> AsyncIterator[EmbeddedWarehouse]:
    opened = EmbeddedWarehouse(tmp_path / "w.duckdb")
    await opened.open()
    yield opened
    await opened.close()


# ── batches ──────────────────────────────────────────────────────────────────────────────────


async def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    first = EmbeddedWarehouse(tmp_path / "w.duckdb")
    await first.open()
    await stored(first, batch("b1", ndjson({"N": 1}, {"N": 2})))
    await first.close()
    again = EmbeddedWarehouse(tmp_path / "w.duckdb")
    await again.open()
    try:
        assert await again.statuses(["b1", "b2"]) == {"b1": TaskState.SUCCESS}
        assert await again.submit(batch("b1", ndjson({"N": 1}))) is Submitted.EXISTS
        assert await again.count("t", "b1") == 2
        await stored(again, batch("b2", ndjson({"N": 3})))
        assert await rows(again, 'SELECT "N" FROM t ORDER BY 1') == [[1], [2], [3]]
    finally:
        await again.close()


async def test_closing_commits_what_was_accepted(tmp_path: Path) -> None:
    first = EmbeddedWarehouse(tmp_path / "w.duckdb")
    await first.open()
    for n in range(4):
        assert await first.submit(batch(f"b{n}", ndjson({"N": n}))) is Submitted.ACCEPTED
    await first.close()
    again = EmbeddedWarehouse(tmp_path / "w.duckdb")
    await again.open()
    assert await rows(again, "SELECT COUNT(*) FROM t") == [[4]]
    await again.close()


async def test_of_batches_that_wait_together_only_the_bad_one_fails(
    warehouse: EmbeddedWarehouse,
) -> None:
    good = [batch(f"b{n}", ndjson({"N": n})) for n in range(3)]
    bad = batch("bad", ndjson({"N": 1}) + b'{"__arrival":0,"N":"x"}\n')
    submitted = await asyncio.gather(*map(warehouse.submit, [good[0], bad, *good[1:]]))
    assert set(submitted) == {Submitted.ACCEPTED}
    assert await settled(warehouse, "bad") is TaskState.FAILED
    for submission in good:
        assert await settled(warehouse, submission.task_id) is TaskState.SUCCESS
    assert (await warehouse.failure("bad")).line == 2
    assert await rows(warehouse, "SELECT COUNT(*) FROM t") == [[3]]


async def test_one_task_id_submitted_twice_at_once_is_stored_once(
    warehouse: EmbeddedWarehouse,
) -> None:
    submission = batch("b1", ndjson({"N": 1}))
    found = await asyncio.gather(*(warehouse.submit(submission) for _ in range(5)))
    assert sorted(found) == [Submitted.ACCEPTED] + [Submitted.EXISTS] * 4
    assert await settled(warehouse, "b1") is TaskState.SUCCESS
    assert await warehouse.count("t", "b1") == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"__arrival":0,"N":\n', "CannotParseExternalData"),
        (b'{"__arrival":0,"N":"x"}\n', "CannotParseExternalData"),
        (b'{"__arrival":0,"N":[1]}\n', "CannotParseExternalData"),
        (b'{"__arrival":0,"N":9223372036854775808}\n', "CannotParseExternalData"),
        (b"[1]\n", "CannotParseExternalData"),
        (b"5\n", "CannotParseExternalData"),
        (b"\n", "CannotParseExternalData"),
        (b'{"__arrival":0,"N":1}{"__arrival":0,"N":2}\n', "CannotParseExternalData"),
        (b'{"__arrival":0,"N":\xff}\n', "CannotParseExternalData"),
        (b'{"__arrival":0,"N":NaN}\n', "CannotParseExternalData"),
        (b'{"__arrival":null,"N":1}\n', "InsertTimeNull"),
        (b'{"N":1}\n', "InsertTimeNull"),
        (b'{"__arrival":9223372036854775807,"N":1}\n', "CannotParseExternalData"),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 57])
async def test_the_line_at_fault_is_named(
    warehouse: EmbeddedWarehouse, line: bytes, code: str, before: int
) -> None:
    good = ndjson(*({"N": n} for n in range(before)))
    failure = await failed(warehouse, batch("b1", good + line + ndjson({"N": 1}, {"N": 2})))
    assert failure.line == before + 1
    assert failure.code == code
    assert failure.data_error
    assert f"Line: {before + 1}" in failure.message


async def test_a_batch_of_another_size_than_was_said_is_not_stored(
    warehouse: EmbeddedWarehouse,
) -> None:
    failure = await failed(warehouse, batch("b1", ndjson({"N": 1}), rows=2))
    assert "1 rows, not 2" in failure.message


async def test_a_failed_task_is_known_until_it_is_released(warehouse: EmbeddedWarehouse) -> None:
    bad = batch("b1", b"broken\n")
    await failed(warehouse, bad)
    assert await warehouse.submit(bad) is Submitted.EXISTS
    await warehouse.release("b1")
    assert await warehouse.statuses(["b1"]) == {}


async def test_rows_that_cannot_be_read_from_the_spool_leave_no_task(
    warehouse: EmbeddedWarehouse,
) -> None:
    submission = Submission(
        batch_id="b1", task_id="b1", spec=spec(), rows=1, content=BrokenDisk(b"")
    )
    with pytest.raises(WarehouseUnreachable):
        await warehouse.submit(submission)
    assert await warehouse.statuses(["b1"]) == {}
    await stored(warehouse, batch("b1", ndjson({"N": 1})))


@pytest.mark.parametrize("name", ["__time", "_batch", "__seq"])
async def test_a_column_name_of_the_warehouses_own_is_refused(
    warehouse: EmbeddedWarehouse, name: str
) -> None:
    with pytest.raises(SubmissionRefused, match=name):
        await warehouse.submit(batch("b1", ndjson({}), spec((Column(name, STRING),))))


async def test_room_is_counted(warehouse: EmbeddedWarehouse) -> None:
    assert await warehouse.free_batches() == MAX_BATCHES
    await stored(warehouse, batch("b1", ndjson({"N": 1})))
    assert await warehouse.free_batches() == MAX_BATCHES


# ── values ───────────────────────────────────────────────────────────────────────────────────


async def test_columns_that_differ_by_case_alone_are_two(warehouse: EmbeddedWarehouse) -> None:
    columns = (Column("id", BIGINT), Column("ID", STRING), Column("Id", DOUBLE))
    raw = ndjson({"id": 1, "ID": "one", "Id": 1.5}, {"ID": "two"})
    await stored(warehouse, batch("b1", raw, spec(columns)))
    assert await rows(warehouse, 'SELECT "id", "ID", "Id" FROM t ORDER BY "ID"') == [
        [1, "one", 1.5],
        [None, "two", None],
    ]


async def test_keys_of_another_case_are_other_keys(warehouse: EmbeddedWarehouse) -> None:
    await stored(warehouse, batch("b1", ndjson({"n": 1}, {"n": 1, "N": 2}, {"N": 2, "n": 1})))
    assert await rows(warehouse, 'SELECT "N" FROM t ORDER BY "N"') == [[None], [2], [2]]


async def test_the_last_of_equal_keys_is_stored_however_it_is_spelt(
    warehouse: EmbeddedWarehouse,
) -> None:
    raw = b'{"__arrival":0,"N":1,"N":2}\n{"__arrival":0,"N":3,"\\u004e":4}\n'
    await stored(warehouse, batch("b1", raw))
    assert await rows(warehouse, 'SELECT "N" FROM t ORDER BY 1') == [[2], [4]]


async def test_a_long_decimal_keeps_every_digit_as_number_and_as_text(
    warehouse: EmbeddedWarehouse,
) -> None:
    columns = (Column("D", parse_type("DECIMAL(30, 11)")), Column("S", STRING))
    raw = (
        b'{"__arrival":0,"D":12345678901234567.12345678901,"S":"12345678901234567890"}\n'
        b'{"__arrival":1,"D":"12345678901234567.12345678901"}\n{"__arrival":2,"D":1.5}\n'
    )
    await stored(warehouse, batch("b1", raw, spec(columns)))
    assert await rows(warehouse, 'SELECT "D", "S" FROM t ORDER BY __time') == [
        ["12345678901234567.12345678901", "12345678901234567890"],
        ["12345678901234567.12345678901", None],
        ["1.50000000000", None],
    ]


async def test_other_timestamps_are_kept_as_millis_from_text_and_from_numbers(
    warehouse: EmbeddedWarehouse,
) -> None:
    columns = (Column("A", TIMESTAMP), Column("F", BOOLEAN))
    raw = ndjson({"A": "2013-01-01T10:00:00.123", "F": True}, {"A": 5, "F": False}, {})
    await stored(warehouse, batch("b1", raw, spec(columns)))
    assert await rows(warehouse, 'SELECT "A", "F" FROM t ORDER BY "A"') == [
        [None, None],
        [5, 0],
        [1357034400123, 1],
    ]


async def test_a_null_iso_time_is_at_fault(warehouse: EmbeddedWarehouse) -> None:
    columns = (Column("AT", TIMESTAMP),)
    iso = spec(columns, time_column="AT", time_encoding=TimeEncoding.ISO)
    raw = b'{"AT":"2013-01-01T00:00:00Z"}\n{"AT":null}\n'
    failure = await failed(warehouse, batch("b1", raw, iso))
    assert (failure.code, failure.line) == ("InsertTimeNull", 2)


async def test_the_hidden_column_cannot_be_seen_or_named(warehouse: EmbeddedWarehouse) -> None:
    await stored(warehouse, batch("b1", ndjson({"N": 1})))
    assert await rows(warehouse, "SELECT * FROM t") == [["1970-01-01T00:00:00.000Z", 1, "b1"]]
    with pytest.raises(QueryRefused, match="__seq"):
        await rows(warehouse, "SELECT __seq FROM t")
    columns = await warehouse.columns("t")
    assert columns is not None
    assert [column.name for column in columns] == ["__time", "N", "_batch"]


# ── queries ──────────────────────────────────────────────────────────────────────────────────


async def test_the_information_schema_describes_the_datasources(
    warehouse: EmbeddedWarehouse,
) -> None:
    await stored(warehouse, batch("b1", ndjson({"N": 1})))
    assert await rows(
        warehouse,
        "SELECT COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS "
        "WHERE TABLE_NAME = 't' ORDER BY ORDINAL_POSITION",
    ) == [["__time", "TIMESTAMP"], ["N", "BIGINT"], ["_batch", "VARCHAR"]]
    assert await rows(
        warehouse, "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'druid'"
    ) == [["t"]]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM meta.commits",
        "SELECT * FROM data.t",
        "SELECT * FROM duckdb_settings()",
        "SELECT current_setting('memory_limit')",
        "SELECT * FROM pg_catalog.pg_tables",
        "SELECT * FROM sqlite_master",
    ],
)
async def test_nothing_but_datasources_can_be_read(warehouse: EmbeddedWarehouse, sql: str) -> None:
    await stored(warehouse, batch("b1", ndjson({"N": 1})))
    with pytest.raises(QueryRefused):
        await rows(warehouse, sql)


async def test_a_query_sees_the_snapshot_at_its_start(warehouse: EmbeddedWarehouse) -> None:
    await stored(warehouse, batch("b1", ndjson(*({"N": n} for n in range(30_000)))))
    result = await warehouse.query(WarehouseQuery(sql='SELECT "N" FROM t', query_id="q"))
    chunks = result.rows()
    seen = (await anext(chunks)).count
    await stored(warehouse, batch("b2", ndjson({"N": -1})))
    assert seen + sum([chunk.count async for chunk in chunks]) == 30_000
    assert await rows(warehouse, "SELECT COUNT(*) FROM t") == [[30_001]]


async def test_rows_of_a_closed_query_do_not_pass_for_its_end(
    warehouse: EmbeddedWarehouse,
) -> None:
    await stored(warehouse, batch("b1", ndjson(*({"N": n} for n in range(30_000)))))
    result = await warehouse.query(WarehouseQuery(sql='SELECT "N" FROM t', query_id="q"))
    chunks = result.rows()
    await anext(chunks)
    await result.close()
    with pytest.raises(QueryBroken):
        await anext(chunks)


ENDLESS = 'SELECT COUNT(*) FROM t a, t b, t c WHERE MOD(a."N" * b."N" + c."N", 7) = 3'


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.2])
async def test_a_query_that_is_cancelled_lets_the_next_one_run(
    warehouse: EmbeddedWarehouse, after_s: float
) -> None:
    await stored(warehouse, batch("b1", ndjson(*({"N": n} for n in range(20_000)))))
    running = asyncio.create_task(rows(warehouse, ENDLESS))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(running), after_s)
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(20):
        assert await rows(warehouse, "SELECT COUNT(*) FROM t") == [[20_000]]


async def test_a_large_order_is_kept_through_the_encoding_of_the_rows(
    warehouse: EmbeddedWarehouse,
) -> None:
    await stored(warehouse, batch("b1", ndjson(*({"N": n * 7919 % 30_011} for n in range(30_011)))))
    found = await rows(warehouse, 'SELECT "N" FROM t ORDER BY "N" DESC')
    assert found == [[n] for n in range(30_010, -1, -1)]


async def test_numbers_that_are_none_are_strings_and_the_line_stays_json(
    warehouse: EmbeddedWarehouse,
) -> None:
    found = await rows(warehouse, "SELECT SQRT(-1), LN(0), -LN(0), 1e308 * 10, 1.0, ARRAY[1.5, 2]")
    assert found == [["NaN", "-Infinity", "Infinity", "Infinity", 1.0, [1.5, 2.0]]]


# ── the file ─────────────────────────────────────────────────────────────────────────────────


async def test_closing_lets_the_file_go_with_its_log_folded_in(tmp_path: Path) -> None:
    warehouse = EmbeddedWarehouse(tmp_path / "w.duckdb")
    await warehouse.open()
    await stored(warehouse, batch("b1", ndjson(*({"N": n} for n in range(30_000)))))
    left_open = await warehouse.query(WarehouseQuery(sql="SELECT * FROM t", query_id="q"))
    await anext(left_open.rows())
    assert (tmp_path / "w.duckdb.wal").exists()
    await warehouse.close()
    assert left_behind(tmp_path) == ["w.duckdb"]


async def test_a_closed_warehouse_says_so(tmp_path: Path) -> None:
    warehouse = EmbeddedWarehouse(tmp_path / "w.duckdb")
    await warehouse.open()
    await warehouse.close()
    await warehouse.close()
    with pytest.raises(WarehouseUnreachable):
        await warehouse.datasources()
    with pytest.raises(WarehouseUnreachable):
        await warehouse.query(WarehouseQuery(sql="SELECT 1", query_id="q"))
    assert not (tmp_path / "w.duckdb.rows").exists()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.duckdb").write_bytes(b"no database" * 1000)
    warehouse = EmbeddedWarehouse(tmp_path / "w.duckdb")
    with pytest.raises(WarehouseUnreachable, match="cannot be opened"):
        await warehouse.open()


WRITES_WITHOUT_END = """
    import asyncio, sys
    from pathlib import Path
    from gateway.seams import InsertSpec, Submission, TaskState
    from gateway.warehouse.embedded import EmbeddedWarehouse
    from protocol.types import BIGINT, Column

    class Bytes:
        def __init__(self, raw): self.raw, self.size_bytes = raw, len(raw)
        def read(self, start=0): yield self.raw[start:]

    async def main():
        warehouse = EmbeddedWarehouse(Path(sys.argv[1]))
        await warehouse.open()
        spec = InsertSpec(datasource="t", columns=(Column("N", BIGINT),))
        raw = b'{"__arrival":0,"N":1}\\n' * 100
        for n in range(100_000):
            name = f"b{n}"
            await warehouse.submit(Submission(
                batch_id=name, task_id=name, spec=spec, rows=100, content=Bytes(raw)))
            while (state := (await warehouse.statuses([name]))[name]) is TaskState.RUNNING:
                await asyncio.sleep(0)
            assert state is TaskState.SUCCESS, await warehouse.failure(name)
            print(name, flush=True)

    asyncio.run(main())
"""


async def test_a_kill_loses_nothing_that_was_said_to_be_committed(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    writer = subprocess.Popen(  # noqa: ASYNC220 - it has to be killed, not awaited
        [sys.executable, "-c", textwrap.dedent(WRITES_WITHOUT_END), str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert writer.stdout is not None
    told = [writer.stdout.readline().decode().strip() for _ in range(25)]
    second = EmbeddedWarehouse(path)
    with pytest.raises(WarehouseUnreachable):
        await second.open()
    writer.send_signal(signal.SIGKILL)
    told += writer.stdout.read().decode().split()
    writer.wait()
    writer.stdout.close()
    await second.open()
    try:
        states = await second.statuses(told)
        assert set(states.values()) == {TaskState.SUCCESS}
        assert len(states) == len(told)
        found = await rows(second, 'SELECT "_batch", COUNT(*) FROM t GROUP BY 1')
        assert {count for _, count in found} == {100}
        assert set(told) <= {name for name, _ in found}
    finally:
        await second.close()
