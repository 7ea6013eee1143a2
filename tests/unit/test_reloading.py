"""A reload takes up what can change, names what cannot, and never leaves a half of anything."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config, ConfigError, Reloads
from gateway.config.keys import all_keys
from gateway.config.loading import Sources
from gateway.ingest.entries import ChunkRecord
from gateway.ingest.policy import BatchLimits, BatchPolicy
from gateway.process.reloading import changes, renewed


def test_keys_that_can_change_do_and_the_others_wait() -> None:
    old = Config()
    new = Config.model_validate(
        {
            "http": {"port": 1, "drain_s": 3},
            "ingest": {"retention_s": 5},
            "access": {"rules": [{"principal": "anonymous", "rights": ["query"]}]},
            "warehouse": "druid",
        }
    )
    config = renewed(old, new)
    assert sorted(changes(old, config)) == ["access.rules", "http.drain_s", "ingest.retention_s"]
    assert sorted(changes(config, new)) == ["http.port", "warehouse"]
    assert (config.http.port, config.http.drain_s) == (8088, 3)


def test_what_does_not_go_together_with_what_stays_changes_nothing() -> None:
    old = Config()
    new = Config.model_validate(
        {"http": {"row_limit_bytes": 1000}, "ingest": {"batch_bytes_max": 2000}}
    )
    with pytest.raises(ConfigError, match=r"a row must fit into a batch.*until the next start"):
        renewed(old, new)


@given(st.data())
def test_a_renewed_configuration_is_the_old_one_but_for_the_keys_that_can_change(
    data: st.DataObject,
) -> None:
    numbers = [key for key in all_keys().values() if key.type in (int, float) and key.variable]
    chosen = data.draw(st.lists(st.sampled_from(numbers), max_size=5, unique_by=lambda k: k.name))
    said = {str(key.variable): str(data.draw(st.integers(1, 9))) for key in chosen}
    old = Config()
    try:
        new = Sources(None, {}, said).read().config
        config = renewed(old, new)
    except ConfigError:
        return
    table = {".".join(key.path): key.is_reloadable for key in all_keys().values()}
    changed, waiting = set(changes(old, config)), set(changes(config, new))
    assert changed | waiting == set(changes(old, new))
    assert all(table.get(name, name.startswith("access.")) for name in changed)
    assert not any(table.get(name, name.startswith("access.")) for name in waiting)


def test_a_listener_that_fails_keeps_no_other_from_hearing() -> None:
    heard: list[tuple[str, Config]] = []

    def failing(_: Config) -> None:
        raise OSError("no such file")

    def faulty(_: Config) -> None:
        raise KeyError("a fault of its own")

    reloads = Reloads()
    reloads.add("first", lambda config: heard.append(("first", config)))
    reloads.add("certificates", failing)
    reloads.add("broken", faulty)
    reloads.add("last", lambda config: heard.append(("last", config)))
    config = Config()
    failures = reloads.apply(config)
    assert heard == [("first", config), ("last", config)]
    assert failures == ["certificates: no such file", "broken: KeyError: 'a fault of its own'"]


def limits(**given_: Any) -> BatchLimits:
    return BatchLimits(**{"rows_max": 100, "bytes_max": 10_000, "age_s": 60.0} | given_)


def chunk(number: int) -> ChunkRecord:
    return ChunkRecord(id=number, queue=1, rows=1, size_bytes=10, arrival_ms=0)


def test_other_batch_limits_hold_for_rows_that_wait_already() -> None:
    policy = BatchPolicy(limits())
    policy.add(chunk(1), 0.0)
    policy.add(chunk(2), 0.0)
    assert policy.due(1.0) == []
    policy.relimit(limits(age_s=0.5))
    assert (policy.due(1.0), policy.due_at()) == ([1], 0.5)
    policy.relimit(limits(rows_max=1))
    assert policy.due(1.0) == [1]
    assert policy.take(1).rows == 1


def test_a_drain_that_has_begun_hurries_on_after_a_reload() -> None:
    policy = BatchPolicy(limits())
    policy.hurry()
    policy.relimit(limits())
    policy.add(chunk(1), 0.0)
    assert policy.due(0.0) == [1]
