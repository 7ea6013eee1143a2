"""Other people's clients, installed unmodified from their registries, each in a place of its own.

Owns: the cache below ``.clients/`` (git-ignored), one virtual environment for each Python client,
since their dependencies may conflict with ours and with each other, and one folder for those of
npm. What is installed is named by ``requirements-*.txt`` and ``npm/package.json`` beside this file.
It never knows what the clients do.

A machine that cannot have a client (no node, no registry, a Python it does not run on) is told
loudly: a skip that names what is missing, or with HEADRACE_REQUIRE_CLIENTS=1 a failure.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".clients"
INSTALL_S = 300.0


class Unavailable(Exception):
    """The client cannot be had on this machine; the text names what is missing."""


def python_with(client: str) -> Path:
    """The interpreter of a virtual environment in which this client of PyPI is installed."""
    try:
        return _python_with(client)
    except Unavailable as missing:
        without(client, missing)


def npm_clients() -> Path:
    """The ``node_modules`` folder with the clients of npm."""
    return npm_packages("the clients of npm", "npm", HERE / "npm" / "package.json")


def npm_packages(what: str, place: str, package: Path) -> Path:
    """The ``node_modules`` folder, in this place of the cache, of what a ``package.json`` names."""
    try:
        return _npm_packages(CACHE / place, package)
    except Unavailable as missing:
        without(what, missing)


def curl_with_http2() -> str:
    """The path of a curl that speaks HTTP/2."""
    try:
        return _curl_with_http2()
    except Unavailable as missing:
        without("curl", missing)


def without(what: str, missing: Unavailable) -> NoReturn:
    """Skip the test, or fail it where clients are required."""
    reason = f"NO REAL CLIENT {what}: {missing}"
    if os.environ.get("HEADRACE_REQUIRE_CLIENTS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _curl_with_http2() -> str:
    found = shutil.which("curl")
    if found is None:
        raise Unavailable("there is no curl")
    if "HTTP2" not in run_installer([found, "--version"], within_s=10):
        raise Unavailable(f"{found} was built without HTTP/2")
    return found


def _python_with(client: str) -> Path:
    if client == "ksql-python-ng" and sys.version_info >= (3, 13):
        # Its `ksql.utils` imports telnetlib, which Python 3.13 no longer has.
        raise Unavailable("it needs Python 3.12 or older")
    requirements = HERE / f"requirements-{client}.txt"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    home = CACHE / f"{client}-{version}"
    python = home / "bin" / "python"
    with installing(home, requirements.read_bytes()) as needed:
        if needed:
            run_installer([sys.executable, "-m", "venv", str(home)])
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run_installer([*pip, "--requirement", str(requirements)])
    return python


def _npm_packages(home: Path, package: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise Unavailable("there is no node with npm")
    with installing(home, package.read_bytes()) as needed:
        if needed:
            home.mkdir(parents=True)
            shutil.copy(package, home)
            quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
            run_installer([npm, "install", *quiet, "--prefix", str(home)])
    return home / "node_modules"


@contextlib.contextmanager
def installing(home: Path, wanted: bytes) -> Iterator[bool]:
    """Hold the lock of a place; gives whether it must be installed, and marks that it was.

    Half an installation has no mark: the next run starts it again from nothing.
    """
    CACHE.mkdir(exist_ok=True)
    mark = home / ".installed"
    digest = hashlib.sha256(wanted).hexdigest()
    with (CACHE / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        needed = not mark.exists() or mark.read_text() != digest
        if needed:
            shutil.rmtree(home, ignore_errors=True)
        yield needed
        mark.write_text(digest)


def run_installer(
    command: list[str], within_s: float = INSTALL_S, environment: Mapping[str, str] | None = None
) -> str:
    """Standard output of a command. Raises `Unavailable` with what it said if it fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
            cwd=ROOT,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{' '.join(command)} took longer than {within_s} s") from None
    if done.returncode:
        raise Unavailable(f"{' '.join(command)} failed: {(done.stderr or done.stdout)[-600:]}")
    return done.stdout
