"""Names of properties: which of them a client is told to be known."""

import re
from pathlib import Path

import pytest

from gateway.query.options import CONTEXT, ENGINE, PREFIX, TIMEOUT, is_context_property
from gateway.query.push_options import PUSH_AT
from protocol.properties import HEADRACE, is_known_property

ROOT = Path(__file__).parents[2]
_READ = re.compile(r'properties\.get\(\s*"(headrace\.[a-z_.]+)"')


def test_every_property_that_the_code_reads_is_known() -> None:
    sources = [*ROOT.glob("protocol/*.py"), *ROOT.glob("gateway/**/*.py")]
    read = {name for file in sources for name in _READ.findall(file.read_text())}
    assert {"headrace.ack", "headrace.channel", "headrace.frames"} <= read
    assert read | {ENGINE, TIMEOUT, PUSH_AT} == HEADRACE


@pytest.mark.parametrize(
    "name",
    [
        *sorted(HEADRACE),
        "auto.offset.reset",
        "ksql.streams.auto.offset.reset",
        "consumer.auto.offset.reset",
        "ksql.query.push.v2.continuation.tokens.enabled",
    ],
)
def test_a_property_that_means_something_is_known(name: str) -> None:
    assert is_known_property(name)


@pytest.mark.parametrize(
    "name",
    ["", "nope", "headrace", "headrace.", "headrace.nope", "HEADRACE.ACK", "ksql.", "druid.lane"],
)
def test_other_names_are_not_known_to_the_protocol(name: str) -> None:
    assert not is_known_property(name)


@pytest.mark.parametrize("key", CONTEXT)
def test_every_key_of_the_context_is_a_property(key: str) -> None:
    assert is_context_property(PREFIX + key)


@pytest.mark.parametrize("name", ["druid.", "druid", "druid.sqlQueryId", "lane", "Druid.lane"])
def test_other_names_are_none_of_the_context(name: str) -> None:
    assert not is_context_property(name)
