"""Properties of a request → what its pull query is run with."""

from typing import Any

import pytest

from gateway.query.options import CONTEXT, pull_options
from gateway.seams import QueryEngine
from protocol.errors import BadRequest


def test_without_properties_everything_is_left_to_the_configuration() -> None:
    options = pull_options({"auto.offset.reset": "earliest", "ksql.x": 1, "timeout": 5})
    assert (options.engine, options.timeout_ms, options.context) == (QueryEngine.NATIVE, None, {})


@pytest.mark.parametrize("text", ["task", "TASK"])
def test_the_engine_is_named_in_any_case(text: str) -> None:
    assert pull_options({"headrace.engine": text}).engine is QueryEngine.TASK


@pytest.mark.parametrize("value", ["msq", "", None, 1, ["task"]])
def test_another_engine_is_refused_with_those_there_are(value: Any) -> None:
    with pytest.raises(BadRequest, match=r"headrace\.engine.*native, task") as refused:
        pull_options({"headrace.engine": value})
    assert refused.value.code == 40000


@pytest.mark.parametrize(
    ("properties", "timeout_ms"),
    [
        ({"headrace.query.timeout_ms": 1500}, 1500),
        ({"headrace.query.timeout_ms": "1500"}, 1500),
        ({"headrace.query.timeout_ms": 0}, 0),
        ({"druid.timeout": "7"}, 7),
        ({"druid.timeout": 7, "headrace.query.timeout_ms": 8}, 8),
    ],
)
def test_a_timeout_is_ours_by_either_name(properties: dict[str, Any], timeout_ms: int) -> None:
    options = pull_options(properties)
    assert options.timeout_ms == timeout_ms
    assert "timeout" not in options.context


@pytest.mark.parametrize(
    ("key", "value", "sent"),
    [
        ("priority", "-3", -3),
        ("lane", "reports", "reports"),
        ("sqlTimeZone", "Europe/Oslo", "Europe/Oslo"),
        ("useCache", "False", False),
        ("useApproximateCountDistinct", True, True),
        ("maxSubqueryRows", "5000", 5000),
        ("maxScatterGatherBytes", 2**40, 2**40),
        ("vectorize", True, "true"),
        ("sqlJoinAlgorithm", "SORTMERGE", "sortMerge"),
    ],
)
def test_a_known_key_reaches_druid_with_its_type(key: str, value: Any, sent: Any) -> None:
    assert pull_options({f"druid.{key}": value}).context == {key: sent}


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("priority", "high", "whole number"),
        ("priority", 1.5, "whole number"),
        ("priority", True, "whole number"),
        ("priority", "²", "whole number"),
        ("maxSubqueryRows", 0, "from 1 to"),
        ("maxSubqueryRows", 2**31, "from 1 to"),
        ("useCache", "yes", "true or false"),
        ("useCache", None, "true or false"),
        ("useCache", [], "true or false"),
        ("lane", "", "text"),
        ("lane", {"a": 1}, "text"),
        ("vectorize", "perhaps", "one of true, false, force"),
        ("timeout", -1, "whole number"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_name(
    key: str, value: Any, wanted: str
) -> None:
    with pytest.raises(BadRequest, match=wanted) as refused:
        pull_options({f"druid.{key}": value})
    assert f"'druid.{key}'" in refused.value.message


@pytest.mark.parametrize(
    "key", ["sqlOuterLimit", "sqlQueryId", "sqlStringifyArrays", "maxNumTasks", "usecache", ""]
)
def test_an_unknown_key_is_refused_and_the_known_ones_are_named(key: str) -> None:
    with pytest.raises(BadRequest) as refused:
        pull_options({f"druid.{key}": "1"})
    assert refused.value.code == 40000
    assert f"'druid.{key}'" in refused.value.message
    assert all(f"druid.{known}" in refused.value.message for known in CONTEXT)
