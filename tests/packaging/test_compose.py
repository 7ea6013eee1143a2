"""The compose file: held against the Compose specification's schema, and against the gateway."""

import re
import subprocess
from typing import Any

import jsonschema
import pytest
import yaml

from gateway.config import load
from tests.packaging.tools import DEPLOY, compose_schema

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_it_is_a_compose_file() -> None:
    jsonschema.validate(COMPOSE, compose_schema())


def test_every_service_that_is_waited_for_and_every_volume_is_there() -> None:
    services, volumes = COMPOSE["services"], COMPOSE["volumes"]
    assert {"headrace", "router", "broker", "coordinator", "historical"} <= set(services)
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services), name
        mounted = {volume.split(":")[0] for volume in service.get("volumes", ())}
        assert mounted <= set(volumes), name


def test_nothing_is_published_beyond_the_loopback() -> None:
    published = [
        port for service in COMPOSE["services"].values() for port in service.get("ports", ())
    ]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_gateway_takes_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    service = COMPOSE["services"]["headrace"]
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, value)
    config = load(None, {})
    assert config.druid.url == "http://router:8888"
    assert config.druid.fetch_url == f"http://headrace:{config.druid.fetch_port}"
    assert int(service["stop_grace_period"].removesuffix("s")) > config.http.drain_s


def test_druid_has_the_slots_and_the_extension_that_a_batch_needs() -> None:
    services = COMPOSE["services"]
    assert int(services["middlemanager"]["environment"]["druid_worker_capacity"]) >= 4
    for name in ("coordinator", "broker", "historical", "middlemanager", "router"):
        extensions = services[name]["environment"]["druid_extensions_loadList"]
        assert "druid-multi-stage-query" in extensions, name
    assert services["router"]["environment"]["druid_router_managementProxy_enabled"] == "true"


def test_the_commands_at_its_top_are_whole_shell() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    commands = re.findall(r"^#   (docker compose .*|curl .*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        checked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr
