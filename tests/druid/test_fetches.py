"""The real Druid fetches its batches from the listener that is there for nothing else."""

import json
import re
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from tests.druid.test_gateway import (
    RunningDruid,
    declare,
    druid_json,
    druid_sql,
    insert_slowly,
    task_path,
    times_stored,
)
from tests.gateways import gateway_process
from tests.server.ksqldb import Row, acks, json_lines, numbered, until

URL = re.compile(r"http://127\.0\.0\.1:(\d+)/batches/[\w.-]+")


def test_druid_fetches_from_a_listener_of_its_own_and_the_url_is_dead_afterwards(
    druid: RunningDruid, tmp_path: Path
) -> None:
    settings = {"DRUID__FETCH_HOST": "127.0.0.1", "DRUID__FETCH_PORT": 0}
    options = {"warehouse": "druid", "arguments": ["--druid-url", druid.router]}
    with gateway_process(tmp_path / "data", settings=settings, **options) as gateway:
        with gateway.peer() as peer:
            name = declare(peer, "apart")
            rows: list[Row] = [
                {**row, "NAME": f"{row['NAME']} {'x' * 200}"} for row in numbered(0, 3000)
            ]
            assert len(json_lines(rows)) > 2 * (256 << 10)
            assert insert_slowly(peer, name, rows) == acks(0, 3000)
        assert times_stored(druid, name) == dict.fromkeys(range(3000), 1)
        batches = druid_sql(druid, f'SELECT DISTINCT "_batch" FROM "{name}"')
        specs = [json.dumps(druid_json(druid, task_path(batch))) for (batch,) in batches]
        found = [url for spec in specs if (url := URL.search(spec)) is not None]
        assert found, "none was large enough to be fetched"
        assert {int(url[1]) for url in found}.isdisjoint({gateway.address[1]})
        for url in found:
            until(partial(is_gone, url[0]), "it died with its task")
        assert gateway.complaints == []


def is_gone(url: str) -> bool:
    # A range behind the end of the batch is no reading of it.
    request = urllib.request.Request(url, headers={"range": "bytes=999999999-"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=15)
    refused.value.close()
    return refused.value.code == 404
