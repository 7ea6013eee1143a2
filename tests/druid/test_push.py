"""A subscription over batches that a real Druid commits, across a crash of the gateway."""

from pathlib import Path
from typing import Protocol

from tests.contract.druid_fixture import unique
from tests.gateways import gateway_process
from tests.push_streams import ids, push, read_rows, read_token, tokens_of
from tests.server.ksqldb import COLUMNS, acks, insert, ksql, numbered

SLOW_S = 120.0
"""A batch takes 2 to 5 s on an idle cluster; this is for one that others use too."""


class RunningDruid(Protocol):
    """What the `druid` fixture gives."""

    @property
    def router(self) -> str: ...


def test_a_subscription_goes_on_across_a_crash_with_the_rows_that_druid_committed_meanwhile(
    druid: RunningDruid, tmp_path: Path
) -> None:
    name = unique("PUSHED").upper()
    sql = f"SELECT id FROM {name} EMIT CHANGES;"
    with gateway_process(
        tmp_path / "data", warehouse="druid", arguments=["--druid-url", druid.router]
    ) as gateway:
        with gateway.peer() as peer, gateway.peer() as reader:
            declared = f"WITH (datasource='{name}', timestamp='at')"
            ksql(peer, f"CREATE STREAM {name} ({COLUMNS}) {declared};")
            stream = push(reader, sql)
            read_token(stream)
            assert insert(peer, name, numbered(0, 20), ack="spooled") == acks(0, 20)
            assert read_rows(stream, 20, SLOW_S) == ids(0, 20)
            token = tokens_of(stream)[-1]
            assert insert(peer, name, numbered(20, 50), ack="spooled") == acks(0, 30)
        gateway.kill()
        gateway.start()
        with gateway.peer() as reader:
            assert read_rows(push(reader, sql, token), 30, SLOW_S) == ids(20, 50)
        with gateway.peer() as reader:
            early = push(reader, sql, auto_offset_reset="earliest")
            assert read_rows(early, 50, SLOW_S) == ids(0, 50)
            early.reset()
