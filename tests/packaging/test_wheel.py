"""The wheel: built, installed into an empty virtual environment, and used from an empty folder."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.installed import ROOT, run_installer

SERVE_S = 60.0
SHIPPED = {".py", ".html", ".css", ".js", ".svg"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy: what an earlier build left beside the sources must not leak into it.
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    without_caches = shutil.ignore_patterns("__pycache__")
    for package in ("gateway", "protocol"):
        shutil.copytree(ROOT / package, source / package, ignore=without_caches)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run_installer([sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(source)])
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a virtual environment that holds the wheel and what it needs."""
    home = tmp_path_factory.mktemp("venv")
    run_installer([sys.executable, "-m", "venv", str(home)])
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    run_installer([*pip, "--disable-pip-version-check", str(wheel)])
    return home / "bin"


def test_every_file_of_the_packages_is_in_it_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {
        str(file.relative_to(ROOT))
        for package in ("gateway", "protocol")
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix in SHIPPED
    }
    assert held == wanted


@pytest.fixture
def served(installed: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of a gateway that runs from the wheel, in an empty folder."""
    command = [str(installed / "headrace"), "serve", "--port", "0", "--admin-port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        told = ""
        for line in process.stderr:
            told += line
            if ready := re.search(r"ready at (http://\S+)", line):
                yield ready.group(1)
                break
        else:
            pytest.fail(told)
    finally:
        process.terminate()
        process.communicate(timeout=SERVE_S)
    assert process.returncode == 0


def run(installed: Path, cwd: Path, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [str(installed / "headrace"), *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_serves_and_its_own_commands_talk_to_it(
    served: str, installed: Path, tmp_path: Path
) -> None:
    create = "CREATE STREAM E (ID BIGINT, AT TIMESTAMP) WITH (datasource='e', timestamp='AT');"
    run(installed, tmp_path, "sql", "--url", served, stdin=create)
    rows = '{"ID":1,"AT":"2026-01-01"}\n{"ID":2,"AT":"2026-01-02"}\n'
    run(installed, tmp_path, "insert", "--url", served, "E", "-", stdin=rows)
    asked = "SELECT COUNT(*) AS N FROM E;"
    assert run(installed, tmp_path, "query", "--url", served, "--json", asked) == '{"N":2}\n'


def test_it_knows_its_version(installed: Path, tmp_path: Path) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", run(installed, tmp_path, "--version").strip())
    assert run(installed, tmp_path, "--version").strip() != "0.0.0"
