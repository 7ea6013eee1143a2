"""The tools that `deploy/` is checked with, each in the cache below ``.clients/``.

Helm, and the schema of compose files, come as Go modules. What a machine cannot have is told as
`tests.clients.installed` tells it: a skip that names it, or a failure where it is required.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from tests.clients.installed import (
    CACHE,
    ROOT,
    Unavailable,
    installing,
    run_installer,
    without,
)

HELM = "helm.sh/helm/v3/cmd/helm@v3.17.3"
COMPOSE = "github.com/compose-spec/compose-go/v2@v2.4.7"
BUILD_S = 900.0

DEPLOY = ROOT / "deploy"


def helm() -> str:
    """The path of Helm 3, built once."""
    try:
        return _helm()
    except Unavailable as missing:
        without("helm", missing)


def compose_schema() -> dict[str, Any]:
    """The JSON schema of compose files, as the Compose specification publishes it."""
    try:
        return _compose_schema()
    except Unavailable as missing:
        without("the schema of compose files", missing)


def systemd_analyze() -> str:
    """The path of ``systemd-analyze``."""
    found = shutil.which("systemd-analyze")
    if found is None:
        without("systemd-analyze", Unavailable("this machine has no systemd"))
    return found


def _go() -> str:
    found = shutil.which("go")
    if found is None:
        raise Unavailable("there is no go to build it with")
    return found


def _helm() -> str:
    go, home = _go(), CACHE / "helm"
    with installing(home, HELM.encode()) as needed:
        if needed:
            home.mkdir(parents=True)
            run_installer([go, "install", HELM], BUILD_S, {**os.environ, "GOBIN": str(home)})
    return str(home / "helm")


def _compose_schema() -> dict[str, Any]:
    go, home = _go(), CACHE / "compose"
    with installing(home, COMPOSE.encode()) as needed:
        if needed:
            home.mkdir(parents=True)
            module = json.loads(run_installer([go, "mod", "download", "-json", COMPOSE]))
            shutil.copy(Path(module["Dir"]) / "schema" / "compose-spec.json", home)
    schema: dict[str, Any] = json.loads((home / "compose-spec.json").read_text())
    return schema
