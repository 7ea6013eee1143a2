"""The dashboard and the alert rules name metrics and labels that the gateway declares, no other.

promtool is not asked for: each expression is cut into selectors, calls and groupings, which is
enough to hold every name in it against the table.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.metrics import DECLARED, Declared, Kind

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "headrace.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
RUNBOOK = DEPLOY / "runbook.md"

OF_THE_SCRAPE = {"instance", "job"}
OF_THE_PROCESS = {
    "process_resident_memory_bytes": set[str](),
    "process_cpu_seconds_total": set[str](),
    "process_open_fds": set[str](),
    "process_max_fds": set[str](),
    "process_start_time_seconds": set[str](),
    "python_gc_collections_total": {"generation"},
}
"""what prometheus_client tells of any process"""

_SAMPLES: dict[str, Declared] = {name: each for each in DECLARED for name in each.samples}
_SELECTOR = re.compile(r"\b((?:headrace|process|python)_\w+)\s*(?:\{([^}]*)\})?\s*(\[[^\]]+\])?")
_MATCHER = re.compile(r'\s*(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*"\s*')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_COUNTING = re.compile(r"\b(rate|irate|increase|delta|predict_linear|changes|deriv)\s*\(\s*(\w+)")
_TEMPLATE_LABEL = re.compile(r"\$labels\.(\w+)")
_LEGEND_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True)
class Written:
    """An expression, where it stands, and the labels that are shown of its result."""

    place: str
    expression: str
    shown: frozenset[str]


def _dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return document


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    return [panel for panel in _dashboard()["panels"] if panel["type"] != "row"]


def _written() -> Iterator[Written]:
    for panel in _panels():
        for target in panel["targets"]:
            shown = frozenset(_LEGEND_LABEL.findall(target["legendFormat"]))
            yield Written(f"panel {panel['title']}", target["expr"], shown)
    for rule in _rules():
        texts = " ".join(rule["annotations"].values())
        yield Written(rule["alert"], rule["expr"], frozenset(_TEMPLATE_LABEL.findall(texts)))


WRITTEN = list(_written())


def labels_of(sample: str) -> set[str]:
    """The labels that a sample of this name carries. Fails for a name that is not declared."""
    if sample in OF_THE_PROCESS:
        return OF_THE_PROCESS[sample] | OF_THE_SCRAPE
    assert sample in _SAMPLES, f"{sample} is declared nowhere"
    own = set(_SAMPLES[sample].labels) | OF_THE_SCRAPE
    return own | {"le"} if sample.endswith("_bucket") else own


def check(written: Written) -> None:
    """Raises AssertionError for whatever in it cannot be."""
    text = written.expression
    selectors = _SELECTOR.findall(text)
    assert selectors, "it asks for no metric"
    known: set[str] = set()
    for name, matchers, _ in selectors:
        labels = labels_of(name)
        known |= labels
        matched = _MATCHER.findall(matchers)
        assert _MATCHER.sub("", matchers).strip(", ") == "", f"cannot read {{{matchers}}}"
        assert set(matched) <= labels, f"{name} has no {set(matched) - labels}"
    for grouping in _GROUPING.findall(text):
        grouped = {label.strip() for label in grouping.split(",") if label.strip()}
        assert grouped <= known, f"by {grouped - known}, which nothing in it carries"
    kept = _kept(text, known)
    assert written.shown <= kept, f"shows {written.shown - kept}, which its result has not"
    _check_counting(text)
    _check_brackets(text)


def _kept(text: str, known: set[str]) -> set[str]:
    """Labels that the result can have: those of the outermost grouping, if there is one."""
    if not re.match(r"\s*(?:sum|min|max|avg|count|histogram_quantile)\b", text):
        return known
    groupings = re.findall(r"\bby\s*\(([^)]*)\)", text)
    return {label.strip() for label in groupings[0].split(",")} if groupings else set()


def _check_counting(text: str) -> None:
    for function, name in _COUNTING.findall(text):
        declared = _SAMPLES.get(name)
        is_counter = name.endswith(("_total", "_bucket", "_sum", "_count")) and (
            declared is None or declared.kind is not Kind.GAUGE
        )
        of_counters = function in ("rate", "irate", "increase")
        assert is_counter == of_counters, f"{function} of {name}"
    for name, _, window in _SELECTOR.findall(text):
        counts = name.endswith(("_total", "_bucket"))
        assert not counts or window, f"{name} only ever grows: ask for its rate"
    if "histogram_quantile" in text:
        assert re.search(r"\bby\s*\([^)]*\ble\b", text), "a quantile needs le"


def _check_brackets(text: str) -> None:
    closing = {")": "(", "]": "[", "}": "{"}
    opened: list[str] = []
    for character in re.sub(r'"[^"]*"', "", text):
        if character in "([{":
            opened.append(character)
        elif character in closing:
            assert opened, f"{character} closes nothing"
            assert opened.pop() == closing[character]
    assert not opened, f"{opened} is not closed"


@pytest.mark.parametrize("written", WRITTEN, ids=lambda one: f"{one.place}: {one.expression}"[:90])
def test_an_expression_asks_for_what_is_declared(written: Written) -> None:
    check(written)


@pytest.mark.parametrize(
    "wrong",
    [
        "sum(headrace_rows_recieved_total)",
        "rate(headrace_spool_stored_bytes[5m])",
        "headrace_rows_received_total",
        'sum(rate(headrace_rows_acked_total{leval="spooled"}[5m]))',
        "sum by (stream) (rate(headrace_rows_acked_total[5m]))",
        "histogram_quantile(0.9, sum(rate(headrace_ack_latency_seconds_bucket[5m])))",
        "sum(rate(headrace_rows_acked_total[5m])",
        "headrace_ack_latency_seconds > 1",
    ],
)
def test_the_check_finds_what_is_wrong(wrong: str) -> None:
    with pytest.raises(AssertionError):
        check(Written("here", wrong, frozenset()))


def test_every_metric_is_looked_at_somewhere() -> None:
    text = " ".join(written.expression for written in WRITTEN)
    named = {name for name, _, _ in _SELECTOR.findall(text)}
    unseen = [each.name for each in DECLARED if not named.intersection(each.samples)]
    assert unseen == []


def test_names_are_unique_and_say_their_units() -> None:
    names = [each.name for each in DECLARED]
    assert len(set(names)) == len(names)
    families = [name.removesuffix("_total") for name in names]
    assert len(set(families)) == len(families), "OpenMetrics knows a counter without its suffix"
    for each in DECLARED:
        assert re.fullmatch(r"headrace_[a-z0-9_]+", each.name), each.name
        assert each.name.endswith("_total") == (each.kind is Kind.COUNTER), each.name
        assert bool(each.buckets) == (each.kind is Kind.HISTOGRAM), each.name
        assert list(each.buckets) == sorted(set(each.buckets)), each.name
        assert each.help, each.name
        assert not set(each.labels) & (OF_THE_SCRAPE | {"le"}), each.name
        if each.unit:
            assert each.unit in each.name, each.name


def test_the_dashboard_is_well_formed() -> None:
    document = _dashboard()
    assert (document["title"], document["uid"]) == ("Headrace", "headrace")
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
    for panel in _panels():
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    rules = _rules()
    names = [rule["alert"] for rule in rules]
    assert len(set(names)) == len(names) >= 20
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, rule["alert"]
        assert re.fullmatch(r"deploy/runbook\.md#[a-z][a-z-]+", rule["annotations"]["runbook"])
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s")), rule["alert"]


def test_the_runbook_has_a_section_for_every_alert() -> None:
    anchors = {rule["annotations"]["runbook"].partition("#")[2] for rule in _rules()}
    assert len(anchors) >= 20
    if not RUNBOOK.exists():
        pytest.skip("deploy/runbook.md is not written yet")
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(), re.MULTILINE)
    ids = set(re.findall(r'<a id="([^"]+)"', RUNBOOK.read_text()))
    slugs = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
    assert anchors <= ids | slugs
