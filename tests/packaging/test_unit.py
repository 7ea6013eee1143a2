"""The systemd unit: verified by systemd, with the gateway of this checkout in its place."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from gateway.config import load
from tests.packaging.tools import DEPLOY, systemd_analyze

UNIT = DEPLOY / "systemd" / "headrace.service"
INSTALLED = "/opt/headrace/bin/headrace"
EXPOSURE_MAX = 2.0
"""of systemd's own score: 10 is a service without any sandbox"""


def analyzed(*arguments: str) -> str:
    done = subprocess.run(
        [systemd_analyze(), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def unit_in(folder: Path) -> Path:
    """The unit as it would be here: systemd looks whether the program is there."""
    program = Path(sys.executable).with_name("headrace")
    assert program.exists()
    unit = folder / UNIT.name
    unit.write_text(UNIT.read_text().replace(INSTALLED, str(program)))
    return unit


def setting(name: str) -> str:
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return str(value)


def test_systemd_takes_it_without_a_word(tmp_path: Path) -> None:
    assert analyzed("verify", str(unit_in(tmp_path))).strip() == ""


def test_it_is_sandboxed(tmp_path: Path) -> None:
    told = analyzed("security", "--offline=true", "--no-pager", str(unit_in(tmp_path)))
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert float(exposure) <= EXPOSURE_MAX


def test_it_waits_longer_than_a_drain_takes() -> None:
    assert float(setting("TimeoutStopSec")) > load(None, {}).http.drain_s + 5


def test_its_commands_are_ones_that_the_gateway_knows(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[http]\nport = 0\n")
    config_file = str(tmp_path / "headrace.toml")
    program = str(Path(sys.executable).with_name("headrace"))
    check = setting("ExecStartPre").replace(INSTALLED, program)
    check = check.replace("/etc/headrace/headrace.toml", config_file)
    done = subprocess.run(
        shlex.split(check), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    serve = shlex.split(setting("ExecStart").replace(INSTALLED, program))
    usage = subprocess.run(
        [*serve[:2], "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert usage.returncode == 0
    for flag in (each for each in serve if each.startswith("--")):
        assert flag in usage.stdout
