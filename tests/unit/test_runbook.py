"""`deploy/runbook.md` against what it speaks of: alerts, metrics, commands, keys."""

import re

import yaml

from gateway.cli import app
from gateway.config import Config
from gateway.metrics.declared import DECLARED
from tests.clients.installed import ROOT

RUNBOOK = (ROOT / "deploy" / "runbook.md").read_text()
ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())


def anchors() -> set[str]:
    headings = re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_alert_has_its_section() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len(rules) > 20
    for rule in rules:
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "deploy/runbook.md"
        assert anchor in anchors(), f"{rule['alert']}: there is no section {anchor}"


def test_every_link_within_it_leads_somewhere() -> None:
    linked = set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOK.replace("\n", " ")))
    assert linked
    assert linked <= anchors()


def test_every_metric_that_it_names_is_declared() -> None:
    declared = {metric.name for metric in DECLARED}
    named = set(re.findall(r"headrace_[a-z_0-9]+", RUNBOOK))
    assert named
    assert named <= declared


def test_every_command_that_it_names_is_there() -> None:
    named = re.findall(r"(?:^|`|; )headrace ((?:[a-z-]+ ?)+)", RUNBOOK, re.MULTILINE)
    assert "batches accept" in named
    for command in named:
        words = command.split()
        found, _, rest = app.parse_commands(words)
        # What is left are arguments, after a command that takes some.
        assert found, command
        assert len(found) == 2 or not rest or not list(app[found[0]]), command


def test_every_key_that_it_names_exists() -> None:
    named = re.findall(r"`((?:http|admin|access|ingest|query|druid)\.(\w+))`", RUNBOOK)
    assert named
    for whole, key in named:
        section = type(getattr(Config(), whole.split(".")[0]))
        if whole != "druid.task_stuck":
            assert key in section.model_fields, whole
