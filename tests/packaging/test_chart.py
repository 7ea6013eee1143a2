"""The Helm chart: rendered by Helm itself, and held against Kubernetes' own schemas."""

import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.config import load
from tests.packaging.tools import DEPLOY, helm

CHART = DEPLOY / "helm" / "headrace"
KUBERNETES = ("1.25.0", "1.31.0", "1.36.0")

EVERYTHING = {
    "replicas": 2,
    "tlsSecretName": "headrace-tls",
    "secretName": "headrace-secrets",
    "imagePullSecrets": [{"name": "pull"}],
    "env": [
        {"name": "HEADRACE__DRUID__PASSWORD_FILE", "value": "/etc/headrace/secrets/druid-password"}
    ],
    "ingress": {"enabled": True, "tlsSecretName": "edge", "className": "nginx"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "networkPolicy": {
        "enabled": True,
        "clients": [{"podSelector": {"matchLabels": {"role": "producer"}}}],
        "admins": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "druid": [{"podSelector": {"matchLabels": {"app": "druid"}}}],
    },
    "persistence": {"storageClassName": "fast", "annotations": {"keep": "yes"}},
    "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "edge"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "edge", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "high",
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
}


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [helm(), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def rendered(tmp_path: Path, values: dict[str, Any], kubernetes: str) -> list[dict[str, Any]]:
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    done = run_helm(
        *("template", "edge", str(CHART), "--namespace", "streams"),
        *("--kube-version", kubernetes, "--values", str(file)),
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    found = [document for document in documents if document["kind"] == kind]
    assert found, f"no {kind} among {[document['kind'] for document in documents]}"
    return found[0]


def environment_of(documents: list[dict[str, Any]]) -> dict[str, str]:
    (container,) = of_kind(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["default", "everything"])
def test_what_it_renders_is_valid_kubernetes(
    tmp_path: Path, values: dict[str, Any], kubernetes: str
) -> None:
    version = kubernetes.removesuffix(".0")
    documents = rendered(tmp_path, values, kubernetes)
    own = [each for each in documents if each["kind"] != "ServiceMonitor"]
    assert len(own) >= 7
    for document in own:
        kubernetes_validate.validate(document, version, strict=True)


def test_helm_finds_nothing_to_complain_of() -> None:
    done = run_helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"replica": 2}, "replica"),
        ({"replicas": -1}, "replicas"),
        ({"persistence": {"size": "much"}}, "size"),
        ({"persistence": {"accessModes": ["ReadWriteMany"]}}, "accessModes"),
        ({"terminationGracePeriodSeconds": 1}, "terminationGracePeriodSeconds"),
        ({"env": [{"name": "not a name"}]}, "env"),
    ],
)
def test_values_that_make_no_sense_are_refused(
    tmp_path: Path, values: dict[str, Any], complaint: str
) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    done = run_helm("template", str(CHART), "--kube-version", "1.31.0", "--values", str(file))
    assert done.returncode != 0
    assert complaint in done.stderr


def test_the_gateway_takes_the_configuration_that_the_chart_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = rendered(tmp_path, {}, "1.31.0")
    for name, value in environment_of(documents).items():
        if name.startswith("HEADRACE__"):
            monkeypatch.setenv(name, value.replace("$(POD_NAME)", "edge-headrace-0"))
    file = tmp_path / "headrace.toml"
    file.write_text(of_kind(documents, "ConfigMap")["data"]["headrace.toml"])
    config = load(file, {})
    assert config.warehouse == "druid"
    assert config.admin.port == 8089
    assert "edge-headrace-admin.streams.svc" in config.admin.names
    own_name = "edge-headrace-0.edge-headrace-pods.streams.svc"
    assert config.druid.fetch_url == f"http://{own_name}:8090"


def test_a_pod_may_do_nothing_that_it_need_not(tmp_path: Path) -> None:
    pod = of_kind(rendered(tmp_path, {}, "1.31.0"), "StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    written = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
    assert written == {"/var/lib/headrace", "/tmp"}
    assert pod["terminationGracePeriodSeconds"] > load(None, {}).http.drain_s


def test_services_say_that_they_speak_http2(tmp_path: Path) -> None:
    plain = of_kind(rendered(tmp_path, {}, "1.31.0"), "Service")
    assert plain["spec"]["ports"][0]["appProtocol"] == "kubernetes.io/h2c"
    encrypted = of_kind(rendered(tmp_path, {"tlsSecretName": "tls"}, "1.31.0"), "Service")
    assert encrypted["spec"]["ports"][0]["appProtocol"] == "https"
