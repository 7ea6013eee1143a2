"""The contract of `gateway.seams.Warehouse`, held by the embedded warehouse and by a real Druid.

A submission takes a Druid more than a second, so each datasource is loaded once for all tests that
only read it.
"""

import contextlib
from dataclasses import dataclass

import orjson
import pytest
import pytest_asyncio

from gateway.seams import (
    ARRIVAL_FIELD,
    BATCH_COLUMN,
    InsertSpec,
    QueryRefused,
    Submission,
    Submitted,
    TaskState,
    TimeEncoding,
    Warehouse,
    WarehouseQuery,
)
from protocol.types import (
    BIGINT,
    BOOLEAN,
    BYTES,
    DATE,
    DOUBLE,
    INTEGER,
    STRING,
    TIMESTAMP,
    Base,
    Column,
    array_of,
    map_of,
    parse_type,
)
from tests.contract.batches import (
    document,
    final_state,
    fresh,
    ident,
    ndjson,
    select,
    stored,
    submission,
    values,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

START = 1_700_000_000_123
MAX_LONG, MIN_LONG = 2**63 - 1, -(2**63)

COLUMNS = (
    Column("TS", TIMESTAMP),
    Column("NAME", STRING),
    Column("N", BIGINT),
    Column("I", INTEGER),
    Column("D", DOUBLE),
    Column("FLAG", BOOLEAN),
    Column("PRICE", parse_type("DECIMAL(10, 2)")),
    Column("EXACT", parse_type("DECIMAL(30, 10)")),
    Column("SEEN", TIMESTAMP),
    Column("DAY", DATE),
    Column("RAW", BYTES),
    Column("TAGS", array_of(STRING)),
    Column("COUNTS", map_of(BIGINT)),
    Column("PLACE", parse_type("STRUCT<CITY STRING, ZIP INTEGER>")),
)
STRINGS = (
    "quote \" apostrophe ' back\\slash",
    "line\nfeed\ttab\rreturn\x01",
    "emoji 🎏 é \u2028 \u2029 /",
    "",
)
FULL = {
    "TS": START,
    "NAME": STRINGS[0],
    "N": MAX_LONG,
    "I": -7,
    "D": 1.5,
    "FLAG": True,
    "PRICE": 10.25,
    "EXACT": "12345678901234567890.0123456789",
    "SEEN": 1_600_000_000_001,
    "DAY": "2013-01-31",
    "RAW": "AAEC/wU=",
    "TAGS": ["a", "b"],
    "COUNTS": {"x": 1, "y": 2},
    "PLACE": {"CITY": "Oslo", "ZIP": 150},
}
ROWS = (
    FULL,
    {"TS": START + 1, "NAME": STRINGS[1], "N": MIN_LONG, "D": -1e300, "FLAG": False},
    {"TS": START + 2, "NAME": STRINGS[2], "N": 0, "D": 2.0, "unknown": "ignored", "n": 5},
    {"TS": START + 3, "NAME": STRINGS[3], "N": 5, "D": None},
    {"TS": START + 4},
)


@dataclass(frozen=True)
class Loaded:
    """A datasource that is there, and the batch that brought its rows."""

    name: str
    spec: InsertSpec
    batch: Submission


async def load(warehouse: Warehouse, spec: InsertSpec, raw: bytes) -> Loaded:
    return Loaded(spec.datasource, spec, await stored(warehouse, spec, raw))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def loaded(warehouse: Warehouse) -> Loaded:
    spec = InsertSpec(datasource=fresh("contract"), columns=COLUMNS, time_column="TS")
    return await load(warehouse, spec, ndjson(*ROWS))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def numbers(warehouse: Warehouse) -> Loaded:
    """20,000 numbered rows in four groups, one in ten without a value."""
    spec = InsertSpec(
        datasource=fresh("numbers"),
        columns=(Column("K", STRING), Column("N", BIGINT), Column("PAD", STRING)),
    )
    rows = (
        {ARRIVAL_FIELD: START + n, "K": f"k{n % 4}", "N": n if n % 10 else None, "PAD": "x" * 40}
        for n in range(20_000)
    )
    return await load(warehouse, spec, b"".join(orjson.dumps(row) + b"\n" for row in rows))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def iso_times(warehouse: Warehouse) -> Loaded:
    spec = InsertSpec(
        datasource=fresh("iso"),
        columns=(Column("AT", TIMESTAMP), Column("N", BIGINT)),
        time_column="AT",
        time_encoding=TimeEncoding.ISO,
    )
    raw = ndjson(
        {"AT": "2013-01-01T10:00:00.123Z", "N": 1},
        {"AT": "2013-01-01T12:30:00+02:00", "N": 2},
        {"AT": "2013-01-01T11:00:00", "N": 3},
    )
    return await load(warehouse, spec, raw)


EVIL_COLUMNS = ('a "quoted" name', "it's", "ü ☃ 🎏", "Mixed", "semi;colon -- x", "select")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def evil(warehouse: Warehouse) -> Loaded:
    spec = InsertSpec(
        datasource=fresh('evil "name" o\'clock ü☃'),
        columns=tuple(Column(name, STRING) for name in EVIL_COLUMNS),
    )
    row = {name: f"<{name}>" for name in EVIL_COLUMNS}
    return await load(warehouse, spec, ndjson({ARRIVAL_FIELD: START, **row}))


# ── going down ───────────────────────────────────────────────────────────────────────────────


async def test_a_committed_batch_is_counted_and_seen(warehouse: Warehouse, loaded: Loaded) -> None:
    assert await warehouse.count(loaded.name, loaded.batch.batch_id) == len(ROWS)
    assert await values(warehouse, f"SELECT COUNT(*) FROM {ident(loaded.name)}") == [[len(ROWS)]]
    assert await warehouse.queryable(loaded.name, loaded.batch.batch_id, len(ROWS))


async def test_the_same_task_id_again_stores_nothing_and_says_that_it_exists(
    warehouse: Warehouse, loaded: Loaded
) -> None:
    assert await warehouse.submit(loaded.batch) is Submitted.EXISTS
    assert await final_state(warehouse, loaded.batch.task_id) is TaskState.SUCCESS
    assert await warehouse.count(loaded.name, loaded.batch.batch_id) == len(ROWS)


async def test_ids_that_are_unknown_are_absent_from_the_statuses(
    warehouse: Warehouse, loaded: Loaded
) -> None:
    asked = [loaded.batch.task_id, fresh("never")]
    assert await warehouse.statuses(asked) == {loaded.batch.task_id: TaskState.SUCCESS}
    assert await warehouse.statuses([]) == {}


async def test_nothing_is_counted_of_an_unknown_batch_or_datasource(
    warehouse: Warehouse, loaded: Loaded
) -> None:
    assert await warehouse.count(loaded.name, fresh("never")) == 0
    assert await warehouse.count(fresh("nowhere"), loaded.batch.batch_id) == 0


async def test_a_line_that_is_no_json_fails_the_batch_by_its_number_and_stores_nothing(
    warehouse: Warehouse,
) -> None:
    spec = InsertSpec(datasource=fresh("broken"), columns=(Column("N", BIGINT),))
    good = ndjson({ARRIVAL_FIELD: START, "N": 1})
    batch = submission(spec, good + b'{"__arrival": 1700000000000, "N": \n' + good)
    assert await warehouse.submit(batch) is Submitted.ACCEPTED
    assert await final_state(warehouse, batch.task_id) is TaskState.FAILED
    failure = await warehouse.failure(batch.task_id)
    assert failure.data_error
    assert failure.message
    # Druid 27 loses the place once in a while, when a task ends by the number of its warnings.
    assert failure.line in (2, None)
    assert await warehouse.count(spec.datasource, batch.batch_id) == 0


async def test_a_second_attempt_has_its_own_task_and_the_same_batch(warehouse: Warehouse) -> None:
    spec = InsertSpec(datasource=fresh("attempts"), columns=(Column("N", BIGINT),))
    raw = ndjson({ARRIVAL_FIELD: START, "N": 1})
    batch_id = fresh("b")
    for attempt in ("", "-a2"):
        batch = submission(spec, raw, batch_id=batch_id, task_id=batch_id + attempt)
        assert await warehouse.submit(batch) is Submitted.ACCEPTED
        assert await final_state(warehouse, batch.task_id) is TaskState.SUCCESS
        await warehouse.release(batch.task_id)
    assert await warehouse.count(spec.datasource, batch_id) == 2


async def test_there_is_room_for_a_batch_when_nothing_runs(
    warehouse: Warehouse, loaded: Loaded
) -> None:
    assert await warehouse.free_batches() >= 1


async def test_new_columns_come_with_a_later_batch(warehouse: Warehouse, iso_times: Loaded) -> None:
    wider = InsertSpec(
        datasource=iso_times.name,
        columns=(*iso_times.spec.columns, Column("MORE", STRING)),
        time_column="AT",
        time_encoding=TimeEncoding.ISO,
    )
    await stored(warehouse, wider, ndjson({"AT": "2014-01-01T00:00:00Z", "N": 4, "MORE": "new"}))
    found = await values(
        warehouse, f'SELECT "N", "MORE" FROM {ident(iso_times.name)} ORDER BY "__time"'
    )
    assert found[-1] == [4, "new"]
    assert [row[1] for row in found[:-1]] == [None, None, None]


# ── values ───────────────────────────────────────────────────────────────────────────────────


async def test_strings_come_back_letter_for_letter(warehouse: Warehouse, loaded: Loaded) -> None:
    found = await values(warehouse, f'SELECT "NAME" FROM {ident(loaded.name)} ORDER BY "__time"')
    assert [name for (name,) in found] == [*STRINGS, None]


async def test_numbers_keep_64_bits_and_nulls_stay_null(
    warehouse: Warehouse, loaded: Loaded
) -> None:
    found = await values(
        warehouse, f'SELECT "N", "I", "D" FROM {ident(loaded.name)} ORDER BY "__time"'
    )
    assert found == [
        [MAX_LONG, -7, 1.5],
        [MIN_LONG, None, -1e300],
        [0, None, 2.0],
        [5, None, None],
        [None, None, None],
    ]


async def test_types_that_the_warehouse_lacks_are_kept_as_the_design_says(
    warehouse: Warehouse, loaded: Loaded
) -> None:
    found = await values(
        warehouse,
        'SELECT "FLAG", "PRICE", "EXACT", "SEEN", "DAY", "RAW" '
        f'FROM {ident(loaded.name)} ORDER BY "__time" LIMIT 2',
    )
    exact = "12345678901234567890.0123456789"
    assert found == [
        [1, 10.25, exact, 1_600_000_000_001, "2013-01-31", "AAEC/wU="],
        [0, None, None, None, None, None],
    ]


async def test_arrays_maps_and_structs_come_back_whole(
    warehouse: Warehouse, loaded: Loaded
) -> None:
    found = await values(
        warehouse,
        f'SELECT "TAGS", "COUNTS", "PLACE" FROM {ident(loaded.name)} ORDER BY "__time" LIMIT 1',
    )
    assert [document(value) for value in found[0]] == [
        FULL["TAGS"],
        FULL["COUNTS"],
        FULL["PLACE"],
    ]


async def test_millis_become_the_time_with_its_milliseconds(
    warehouse: Warehouse, loaded: Loaded
) -> None:
    found = await values(
        warehouse, f'SELECT "__time" FROM {ident(loaded.name)} ORDER BY "__time" LIMIT 1'
    )
    assert found == [["2023-11-14T22:13:20.123Z"]]


async def test_iso_times_are_utc_unless_they_carry_an_offset(
    warehouse: Warehouse, iso_times: Loaded
) -> None:
    found = await values(
        warehouse,
        f'SELECT "N", "__time" FROM {ident(iso_times.name)} WHERE "N" < 4 ORDER BY "__time"',
    )
    assert found == [
        [1, "2013-01-01T10:00:00.123Z"],
        [2, "2013-01-01T10:30:00.000Z"],
        [3, "2013-01-01T11:00:00.000Z"],
    ]


async def test_the_batch_is_a_column_of_every_row(warehouse: Warehouse, loaded: Loaded) -> None:
    found = await values(
        warehouse,
        f"SELECT {ident(BATCH_COLUMN)}, COUNT(*) FROM {ident(loaded.name)} GROUP BY 1",
    )
    assert found == [[loaded.batch.batch_id, len(ROWS)]]


async def test_a_key_that_stands_twice_means_its_last_value(warehouse: Warehouse) -> None:
    spec = InsertSpec(datasource=fresh("twice"), columns=(Column("N", BIGINT), Column("S", STRING)))
    raw = b'{"__arrival":1700000000000,"N":1,"S":"a","N":2}\n{"__arrival":1700000000001,"N":3}\n'
    await stored(warehouse, spec, raw)
    found = await values(
        warehouse, f'SELECT "N", "S" FROM {ident(spec.datasource)} ORDER BY "__time"'
    )
    assert found == [[2, "a"], [3, None]]


# ── names and columns ────────────────────────────────────────────────────────────────────────


async def test_a_datasource_is_listed_with_its_columns_and_types(
    warehouse: Warehouse, loaded: Loaded
) -> None:
    assert loaded.name in await warehouse.datasources()
    columns = await warehouse.columns(loaded.name)
    assert columns is not None
    found = {column.name: column.type for column in columns}
    expected = {"__time": TIMESTAMP, "NAME": STRING, "N": BIGINT, "D": DOUBLE, "FLAG": BIGINT}
    assert {name: found[name] for name in expected} == expected
    assert set(found) - {BATCH_COLUMN} == {"__time"} | {c.name for c in COLUMNS if c.name != "TS"}


async def test_a_datasource_that_does_not_exist_has_no_columns(warehouse: Warehouse) -> None:
    assert await warehouse.columns(fresh("nowhere")) is None


async def test_names_with_quotes_blanks_and_letters_of_any_alphabet_work(
    warehouse: Warehouse, evil: Loaded
) -> None:
    assert evil.name in await warehouse.datasources()
    listed = ", ".join(ident(name) for name in EVIL_COLUMNS)
    columns, found = await select(warehouse, f"SELECT {listed} FROM {ident(evil.name)}")
    assert [column.name for column in columns] == list(EVIL_COLUMNS)
    assert found == [[f"<{name}>" for name in EVIL_COLUMNS]]
    columns_of = await warehouse.columns(evil.name)
    assert columns_of is not None
    assert set(EVIL_COLUMNS) <= {column.name for column in columns_of}


# ── coming up ────────────────────────────────────────────────────────────────────────────────


async def test_a_result_says_its_columns_and_their_types(
    warehouse: Warehouse, loaded: Loaded
) -> None:
    columns, found = await select(
        warehouse,
        'SELECT "NAME", "N" AS "n2", "D", "__time", COUNT(*) '
        f"FROM {ident(loaded.name)} GROUP BY 1, 2, 3, 4",
    )
    assert [column.name for column in columns] == ["NAME", "n2", "D", "__time", "EXPR$4"]
    bases = [column.type.base for column in columns]
    assert bases == [Base.STRING, Base.BIGINT, Base.DOUBLE, Base.TIMESTAMP, Base.BIGINT]
    assert len(found) == len(ROWS)


async def test_a_result_without_rows_still_has_its_columns(
    warehouse: Warehouse, loaded: Loaded
) -> None:
    columns, found = await select(
        warehouse, f'SELECT "NAME", "N" FROM {ident(loaded.name)} WHERE "N" = 424242'
    )
    assert [column.name for column in columns] == ["NAME", "N"]
    assert found == []


async def test_groups_are_counted_ordered_and_limited(
    warehouse: Warehouse, numbers: Loaded
) -> None:
    found = await values(
        warehouse,
        'SELECT "K", COUNT(*) AS "c", SUM("N"), MIN("N"), MAX("N"), COUNT("N") '
        f'FROM {ident(numbers.name)} WHERE "N" IS NOT NULL OR "K" = \'k0\' '
        'GROUP BY "K" HAVING COUNT(*) > 1 ORDER BY "c" DESC, "K" LIMIT 3',
    )
    groups = {k: [n for n in range(20_000) if n % 4 == k and n % 10] for k in range(4)}
    expected = [
        [f"k{k}", 5000 if k == 0 else len(of), sum(of), min(of), max(of), len(of)]
        for k, of in groups.items()
    ]
    assert found == sorted(expected, key=lambda row: (-int(str(row[1])), str(row[0])))[:3]


async def test_times_are_floored_and_compared(warehouse: Warehouse, iso_times: Loaded) -> None:
    found = await values(
        warehouse,
        'SELECT TIME_FLOOR("__time", \'PT1H\') AS "t", COUNT(*) FROM '
        f"{ident(iso_times.name)} WHERE \"__time\" < TIMESTAMP '2014-01-01 00:00:00' "
        "GROUP BY 1 ORDER BY 1",
    )
    assert found == [["2013-01-01T10:00:00.000Z", 2], ["2013-01-01T11:00:00.000Z", 1]]


async def test_whole_numbers_divide_to_whole_numbers(warehouse: Warehouse, loaded: Loaded) -> None:
    found = await values(
        warehouse,
        'SELECT "N" / 2, CAST("D" AS BIGINT), CASE WHEN "N" > 4 THEN \'big\' ELSE \'small\' END '
        f'FROM {ident(loaded.name)} WHERE "N" = 5 OR "D" = 1.5 ORDER BY "__time"',
    )
    assert found == [[MAX_LONG // 2, 1, "big"], [2, None, "big"]]


async def test_a_result_of_many_chunks_arrives_complete(
    warehouse: Warehouse, numbers: Loaded
) -> None:
    result = await warehouse.query(
        WarehouseQuery(
            sql=f'SELECT "N", "PAD" FROM {ident(numbers.name)} ORDER BY "__time"',
            query_id=fresh("q"),
        )
    )
    chunks = [chunk async for chunk in result.rows()]
    await result.close()
    assert len(chunks) > 1
    found = [orjson.loads(line)[0] for c in chunks for line in c.raw.splitlines()]
    assert found == [n if n % 10 else None for n in range(20_000)]


async def test_a_result_can_be_closed_in_the_middle_and_twice(
    warehouse: Warehouse, numbers: Loaded
) -> None:
    result = await warehouse.query(
        WarehouseQuery(sql=f'SELECT "PAD" FROM {ident(numbers.name)}', query_id=fresh("q"))
    )
    async with contextlib.aclosing(result.rows()) as rows:  # type: ignore[type-var]
        assert (await anext(rows)).count > 0
        await result.close()
    await result.close()
    assert await values(warehouse, f"SELECT COUNT(*) FROM {ident(numbers.name)}") == [[20_000]]


@pytest.mark.parametrize(
    "sql",
    [
        "SELEC 1",
        "SELECT FROM WHERE",
        "SELECT COUNT(* FROM {t}",
        "SELECT 'open FROM {t}",
        'SELECT "no such column" FROM {t}',
        "SELECT NO_SUCH_FUNCTION(1) FROM {t}",
        'SELECT "NAME", COUNT(*) FROM {t}',
        "SELECT * FROM no_such_table",
        "DROP TABLE {t}",
        "SELECT 1; SELECT 2",
    ],
)
async def test_a_query_that_is_at_fault_is_refused_at_once(
    warehouse: Warehouse, loaded: Loaded, sql: str
) -> None:
    with pytest.raises(QueryRefused) as refused:
        await warehouse.query(
            WarehouseQuery(sql=sql.format(t=ident(loaded.name)), query_id=fresh("q"))
        )
    assert str(refused.value)


async def test_a_missing_table_is_named(warehouse: Warehouse, loaded: Loaded) -> None:
    with pytest.raises(QueryRefused, match="Object 'no_such_table' not found"):
        await warehouse.query(
            WarehouseQuery(sql="SELECT * FROM no_such_table", query_id=fresh("q"))
        )
