"""The catalogue: declarations on disk, look-ups by ksqlDB's rules, discovery with few questions."""

import asyncio
from pathlib import Path

import pytest

from gateway.catalog.catalog import Catalog, Change
from gateway.catalog.errors import CatalogUnreadable
from gateway.seams import Source, SourceKind, TimeEncoding, WarehouseUnreachable
from protocol.errors import BadStatement, WarehouseAway
from protocol.names import DeclaredNames
from protocol.statements import CreateSource, DropSource, parse_statements
from protocol.types import BIGINT, STRING, TIMESTAMP, Column


class Shelf:
    """A warehouse that knows its datasources, counts the questions, and can be away."""

    def __init__(self, **datasources: tuple[Column, ...]) -> None:
        self.known = dict(datasources)
        self.away = False
        self.asked_names = 0
        self.asked_columns = 0
        self.now_s = 100.0

    async def columns(self, datasource: str) -> tuple[Column, ...] | None:
        self.asked_columns += 1
        await asyncio.sleep(0)
        if self.away:
            raise WarehouseUnreachable
        return self.known.get(datasource)

    async def datasources(self) -> list[str]:
        self.asked_names += 1
        await asyncio.sleep(0)
        if self.away:
            raise WarehouseUnreachable
        return sorted(self.known)

    def catalog(self, path: Path) -> Catalog:
        return Catalog(path, self.columns, self.datasources, clock=lambda: self.now_s)


FLIGHTS = (
    Column("__time", BIGINT),
    Column("origin", STRING),
    Column("_batch", STRING),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "catalog.json"


def create(text: str) -> CreateSource:
    (statement,) = parse_statements(text)
    assert isinstance(statement, CreateSource)
    return statement


def drop(text: str) -> DropSource:
    (statement,) = parse_statements(text)
    assert isinstance(statement, DropSource)
    return statement


async def define(catalog: Catalog, text: str) -> Source:
    return (await catalog.define(create(text))).source


async def test_a_declared_stream_survives_a_restart(path: Path) -> None:
    shelf = Shelf(flights=FLIGHTS)
    catalog = shelf.catalog(path)
    text = (
        "CREATE TABLE `Flights` (k BIGINT PRIMARY KEY, Origin STRING, at STRING, "
        "deep ARRAY<STRUCT<`a b` DECIMAL(4,2)>>) WITH (datasource='flights', timestamp='at', "
        "timestamp_format='dd.MM.yyyy', clustered_by='origin', ack='queryable', partitions=3);"
    )
    source = await define(catalog, text)
    await define(catalog, "CREATE STREAM s (a INT);")
    again = shelf.catalog(path)
    assert again.all_declared() == catalog.all_declared()
    assert again.declared("Flights") == source
    assert again.revision == 2
    assert [one.name for one in again.all_declared()] == ["Flights", "S"]
    assert list(path.parent.iterdir()) == [path]


async def test_a_dropped_stream_is_gone_after_a_restart_too(path: Path) -> None:
    shelf = Shelf()
    catalog = shelf.catalog(path)
    source = await define(catalog, "CREATE STREAM s (a INT);")
    assert await catalog.drop(drop("DROP STREAM s;")) == source
    assert catalog.declared("S") is None
    assert shelf.catalog(path).all_declared() == []


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"[]", "damaged"),
        (b'{"format":1}', "damaged"),
        (b'{"format":2,"whatever":true}', "written by a later version"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(path: Path, raw: bytes, said: str) -> None:
    path.parent.mkdir()
    path.write_bytes(raw)
    with pytest.raises(CatalogUnreadable, match=said) as caught:
        Shelf().catalog(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == raw


async def test_a_failed_write_leaves_the_catalogue_as_it_was(path: Path) -> None:
    catalog = Shelf().catalog(path)
    await define(catalog, "CREATE STREAM s (a INT);")
    # A folder where the new file is to be written: no right of root passes that.
    path.with_name(path.name + ".tmp").mkdir()
    with pytest.raises(OSError, match="directory"):
        await define(catalog, "CREATE STREAM t (a INT);")
    assert catalog.declared("T") is None
    assert [one.name for one in Shelf().catalog(path).all_declared()] == ["S"]


async def test_if_not_exists_keeps_or_replace_replaces_and_else_it_is_refused(path: Path) -> None:
    catalog = Shelf().catalog(path)
    first = await define(catalog, "CREATE STREAM s (a INT);")
    kept = await catalog.define(create("CREATE STREAM IF NOT EXISTS s (b INT);"))
    assert kept == (first, Change.KEPT)
    with pytest.raises(BadStatement, match="Cannot add stream `S`: A stream with the same name"):
        await define(catalog, "CREATE STREAM s (b INT);")
    replaced = await catalog.define(create("CREATE OR REPLACE STREAM s (b INT);"))
    assert replaced.change is Change.REPLACED
    assert catalog.declared("S") == replaced.source
    with pytest.raises(BadStatement, match="Cannot replace STREAM `S` with a TABLE"):
        await define(catalog, "CREATE OR REPLACE TABLE s (b INT);")


async def test_drop_names_what_is_wrong(path: Path) -> None:
    catalog = Shelf().catalog(path)
    await define(catalog, "CREATE STREAM s (a INT);")
    assert await catalog.drop(drop("DROP STREAM IF EXISTS t;")) is None
    with pytest.raises(BadStatement, match="Source `T` does not exist"):
        await catalog.drop(drop("DROP STREAM t;"))
    with pytest.raises(BadStatement, match="`S` is a STREAM: use DROP STREAM"):
        await catalog.drop(drop("DROP TABLE s;"))


async def test_concurrent_declarations_all_reach_the_disk(path: Path) -> None:
    catalog = Shelf().catalog(path)
    await asyncio.gather(*(define(catalog, f"CREATE STREAM s{n} (a INT);") for n in range(8)))
    assert len(Shelf().catalog(path).all_declared()) == 8
    assert catalog.revision == 8


async def test_a_caller_that_goes_away_does_not_stop_its_change_halfway(path: Path) -> None:
    catalog = Shelf().catalog(path)
    caller = asyncio.create_task(define(catalog, "CREATE STREAM s (a INT);"))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await catalog.close()
    assert catalog.declared("S") is not None
    assert Shelf().catalog(path).declared("S") == catalog.declared("S")


# ── look-ups ─────────────────────────────────────────────────────────────────────────────────


async def test_a_target_folds_and_a_quoted_one_is_literal(path: Path) -> None:
    catalog = Shelf().catalog(path)
    upper = await define(catalog, "CREATE STREAM s (a INT);")
    lower = await define(catalog, "CREATE STREAM `s` (a INT);")
    assert await catalog.resolve("s") == await catalog.resolve('"S"') == upper
    assert await catalog.resolve("`s`") == await catalog.resolve(' "s" ') == lower


@pytest.mark.parametrize("target", ["`a", 'a"', "``", '"', "", "  ", "`a`b`"])
async def test_a_target_with_broken_quotes_is_refused(path: Path, target: str) -> None:
    catalog = Shelf().catalog(path)
    with pytest.raises(BadStatement) as caught:
        await catalog.resolve(target)
    assert caught.value.code == 40001
    assert caught.value.message.startswith("Invalid target name: ")


async def test_an_unknown_target_is_told_in_ksqldbs_words(path: Path) -> None:
    catalog = Shelf().catalog(path)
    await define(catalog, "CREATE STREAM structured_types_kstream (a INT);")
    hint = "Hint: try removing double quotes from the source name."
    for target in ("`structured_types_kstream`", '"structured_types_kstream"'):
        with pytest.raises(BadStatement) as caught:
            await catalog.resolve(target)
        assert caught.value.message == (
            "Cannot insert values into an unknown stream/table: `structured_types_kstream`\n"
            f"Did you mean STRUCTURED_TYPES_KSTREAM? {hint}"
        )
        assert caught.value.code == 40001
    with pytest.raises(BadStatement, match=r"Did you mean STRUCTURED_TYPES_KSTREAM\?$"):
        await catalog.resolve("structured_type_kstream")
    with pytest.raises(BadStatement, match=r"stream/table: `X`$"):
        await catalog.resolve("x")
    await define(catalog, "CREATE STREAM `low` (a INT);")
    with pytest.raises(BadStatement, match=r"Did you mean low\? Hint: try adding double quotes"):
        await catalog.resolve("low")


async def test_a_datasource_that_exists_is_a_target_without_being_declared(path: Path) -> None:
    catalog = Shelf(flights=FLIGHTS).catalog(path)
    source = await catalog.resolve("flights")
    columns = (Column("__time", TIMESTAMP), Column("origin", STRING))
    assert source.name == "flights"
    assert source.kind is SourceKind.STREAM
    assert not source.declared
    assert source.columns == source.spec.columns == columns
    assert source.spec.datasource == "flights"
    assert source.spec.time_column == "__time"
    assert source.spec.time_encoding is TimeEncoding.ISO
    assert catalog.all_declared() == []
    assert await catalog.datasources() == ["flights"]


async def test_a_declared_name_goes_before_a_datasource_of_that_name(path: Path) -> None:
    catalog = Shelf(flights=FLIGHTS).catalog(path)
    declared = await define(catalog, "CREATE STREAM flights (a INT) WITH (kafka_topic='x');")
    assert await catalog.resolve("flights") == declared
    assert (await catalog.resolve("`flights`")).declared is False
    assert await catalog.datasources() == ["flights", "x"]


async def test_a_datasource_is_found_as_written_then_folded_then_whatever_its_case(
    path: Path,
) -> None:
    both = Shelf(Orders=FLIGHTS, ORDERS=FLIGHTS, Mixed=FLIGHTS, ab=FLIGHTS, aB=FLIGHTS)
    catalog = both.catalog(path)
    assert (await catalog.resolve("Orders")).name == "Orders"
    assert (await catalog.resolve("orders")).name == "ORDERS"
    assert (await catalog.resolve("mIXED")).name == "Mixed"
    assert (await catalog.resolve("`Mixed`")).name == "Mixed"
    for target in ("AB", "`mixed`"):
        with pytest.raises(BadStatement, match="unknown stream/table"):
            await catalog.resolve(target)


async def test_unknown_targets_ask_the_warehouse_once_in_a_while(path: Path) -> None:
    shelf = Shelf(flights=FLIGHTS)
    catalog = shelf.catalog(path)
    await asyncio.gather(*(catalog.resolve(f"nope{n}") for n in range(50)), return_exceptions=True)
    assert (shelf.asked_names, shelf.asked_columns) == (1, 0)
    await asyncio.gather(*(catalog.resolve("flights") for _ in range(50)))
    assert (shelf.asked_names, shelf.asked_columns) == (1, 1)
    shelf.known["new"] = FLIGHTS
    with pytest.raises(BadStatement):
        await catalog.resolve("new")
    shelf.now_s += 2.0
    assert (await catalog.resolve("new")).name == "new"
    assert (shelf.asked_names, shelf.asked_columns) == (2, 2)
    shelf.known["flights"] = (*FLIGHTS, Column("dest", STRING))
    shelf.now_s += 10.0
    assert (await catalog.resolve("flights")).columns[-1].name == "dest"


async def test_an_outage_leaves_declared_and_known_targets_usable(path: Path) -> None:
    shelf = Shelf(flights=FLIGHTS)
    catalog = shelf.catalog(path)
    known = await catalog.resolve("flights")
    declared = await define(catalog, "CREATE STREAM s (a INT);")
    shelf.away = True
    shelf.now_s += 3_600
    assert await catalog.resolve("flights") == known
    assert await catalog.resolve("s") == declared
    with pytest.raises(WarehouseAway, match="Nothing was declared"):
        await define(catalog, "CREATE STREAM t (a INT);")


async def test_an_undeclared_name_that_was_never_known_is_503_in_an_outage(path: Path) -> None:
    shelf = Shelf(flights=FLIGHTS)
    shelf.away = True
    catalog = shelf.catalog(path)
    for _ in range(5):
        with pytest.raises(WarehouseAway) as caught:
            await catalog.resolve("flights")
    assert (caught.value.status, caught.value.code) == (503, 50000)
    assert shelf.asked_names == 1
    shelf.away = False
    shelf.now_s += 2.0
    assert (await catalog.resolve("flights")).name == "flights"


async def test_the_names_of_a_declared_stream_are_given_to_pull_queries(path: Path) -> None:
    catalog = Shelf(flights=FLIGHTS).catalog(path)
    await define(
        catalog,
        "CREATE STREAM f (ts BIGINT, Origin STRING) WITH (kafka_topic='flights', timestamp='ts');",
    )
    assert catalog.names("F") == DeclaredNames(
        name="F",
        datasource="flights",
        columns=("TS", "ORIGIN"),
        stored=("TS", "origin"),
        time_column="TS",
    )
    assert catalog.names("flights") is None
