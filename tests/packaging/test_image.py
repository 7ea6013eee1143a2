"""The Dockerfile, as far as it can be held to its promises without an engine that builds it."""

import re
import shlex
import tomllib

from gateway.config import load
from tests.clients.installed import ROOT
from tests.packaging.tools import DEPLOY

TEXT = (DEPLOY / "Dockerfile").read_text()
LINES = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in LINES if line.startswith(name + " ")]


def environment() -> dict[str, str]:
    (variables,) = instructions("ENV")
    return dict(each.split("=", 1) for each in shlex.split(variables))


def test_all_that_is_copied_in_is_there_and_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for copied in instructions("COPY"):
        if copied.startswith("--from"):
            continue
        for source in copied.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source


def test_it_does_not_run_as_root_and_writes_to_one_place() -> None:
    user, group = instructions("USER")[-1].split(":")
    assert int(user) > 1000
    assert int(group) > 1000
    assert instructions("VOLUME") == ['["/var/lib/headrace"]']
    assert environment()["HEADRACE__DATA_DIR"] == "/var/lib/headrace"


def test_it_is_stopped_as_the_gateway_wants_it() -> None:
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert instructions("ENTRYPOINT") == ['["headrace"]'], "a shell would swallow the signal"


def test_its_ports_and_its_variables_are_the_gateways() -> None:
    config = load(None, {})
    assert instructions("EXPOSE") == [f"{config.http.port} {config.admin.port}"]
    for name in environment():
        if name.startswith("HEADRACE__"):
            *sections, key = name.removeprefix("HEADRACE__").lower().split("__")
            model = type(getattr(config, sections[0]) if sections else config)
            assert key in model.model_fields, name


def test_its_version_is_the_projects() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"VERSION={version}" in instructions("ARG")
    chart = (DEPLOY / "helm" / "headrace" / "Chart.yaml").read_text()
    assert f"\nversion: {version}\n" in chart
    assert f"\nappVersion: {version}\n" in chart
