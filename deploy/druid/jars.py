"""The jars of a whole Druid, and the programs that are needed to get and run them.

Owns `<home>/lib`. Laws:

* the folder is complete or absent: Maven fills one beside it, which is then renamed;
* it is complete for one pom.xml: the marker in it holds that file's digest;
* of two processes that assemble at once, one works, the other waits and finds the work done.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from process import locked

POM = Path(__file__).with_name("pom.xml")
MARKER = ".complete"
OLDEST_JAVA = 11
UNREACHABLE = re.compile(
    # The first is all it says when not even its own plugins can be looked up.
    r"No plugin found for prefix|Could not transfer|Unknown host|Network is unreachable"
    r"|Connection (refused|timed out|reset)|Connect to .* failed|offline mode"
)


class Missing(Exception):
    """This machine lacks something; the text says what, and the remedy."""


class AssemblyFailed(Exception):
    """Maven ran and reached its repository, but did not do what pom.xml asks."""


@functools.cache
def java() -> str:
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if found is None:
        place = f"JAVA_HOME ({home})" if home else "PATH"
        raise Missing(f"no java in {place}: install a JDK, 17 is the tested one")
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise Missing(f"{found} is too old: Java {OLDEST_JAVA} or newer, 17 is the tested one")
    return found


def assemble(home: Path) -> Path:
    """The folder of jars, filled if it is not yet, or not from the present pom.xml."""
    lib = home / "lib"
    if not complete(lib):
        with locked(home / "assemble.lock"):
            if not complete(lib):
                _fill(lib)
    return lib


def complete(lib: Path) -> bool:
    marker = lib / MARKER
    return marker.is_file() and marker.read_text() == _digest()


def _digest() -> str:
    return hashlib.sha256(POM.read_bytes()).hexdigest()


def _fill(lib: Path) -> None:
    fresh = lib.with_name("lib.new")
    for stale in (fresh, lib):
        shutil.rmtree(stale, ignore_errors=True)
    fresh.mkdir(parents=True)
    _maven(
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        f"-DoutputDirectory={fresh}",
    )
    (fresh / MARKER).write_text(_digest())
    fresh.rename(lib)


def _maven(*arguments: str) -> None:
    java()  # Maven's own words for its absence do not help.
    maven = shutil.which("mvn")
    if maven is None:
        raise Missing("no mvn in PATH: install Maven, 3.8 is the tested one")
    command = [maven, "--batch-mode", "--quiet", "--file", str(POM), *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        _explain(done.stdout.splitlines())


def _explain(output: Sequence[str]) -> None:
    # The first error is the cause; the rest is advice on how to run Maven.
    reason = next((line for line in output if "[ERROR]" in line), "it gave no reason")
    reason = reason[reason.find("[ERROR]") :]
    if UNREACHABLE.search(reason):
        remedy = "connect, or name a mirror in Maven's settings.xml"
        raise Missing(f"Maven cannot reach its repository: {remedy}\n{reason}")
    raise AssemblyFailed(f"Maven could not assemble Druid:\n{reason}")
