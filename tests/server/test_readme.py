"""The README's own commands, run as they stand, against a gateway on another port."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from gateway.config import Config, load
from gateway.seams import Right
from tests.certificates import write_pair
from tests.gateways import GatewayProcess

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = [
    block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if block.startswith("curl")
]


def run(block: str, gateway: GatewayProcess) -> str:
    assert shutil.which("curl"), "curl is what the README talks to the gateway with"
    script = block.replace("http://127.0.0.1:8088", gateway.url).replace("curl ", "curl -sS ")
    done = subprocess.run(
        ["bash", "-ec", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_of_the_readme_do_what_it_says(gateway: GatewayProcess) -> None:
    declared, inserted, queried, on_channel = (run(block, gateway) for block in BLOCKS)
    assert '"status":"SUCCESS"' in declared
    assert inserted == '{"status":"ok","seq":0}\n{"status":"ok","seq":1}\n'
    assert inserted in README
    assert '["first",1]' in queried
    assert '["second",1]' in queried
    assert queried.endswith('[2,"second"]\n')
    assert "headrace-next-offset: 0" in on_channel
    assert on_channel.endswith('{"status":"ok","seq":0}\n')
    again = run(BLOCKS[3], gateway)
    assert again.endswith('{"status":"ok","seq":0,"duplicate":true}\n')


def test_the_five_minutes_do_what_they_say(gateway: GatewayProcess) -> None:
    (block,) = re.findall(r"```sh\n(echo \"CREATE STREAM ORDERS.*?)```", README, re.DOTALL)
    programs = Path(sys.executable).parent
    environment = {**os.environ, "HEADRACE_URL": gateway.url}
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", block],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "Stream created" in done.stdout
    assert {"Porto\t39.02", "Faro\t12.5"} <= set(done.stdout.splitlines()), done.stdout


def test_the_configuration_that_it_shows_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    for named in re.findall(r'"(/etc/headrace/[^"]+)"', block):
        block = block.replace(named, str(tmp_path / Path(named).name))
    (tmp_path / "users").write_text("")
    (tmp_path / "tokens").write_text("")
    certificate, key = write_pair(tmp_path, trustme.CA().issue_cert("localhost"))
    certificate.rename(tmp_path / "tls.crt")
    key.rename(tmp_path / "tls.key")
    file = tmp_path / "headrace.toml"
    file.write_text(block.replace("/var/log/headrace", str(tmp_path)))
    config = load(file, {})
    assert config.access.limits[0].rows_per_s == 50_000
    assert {right for rule in config.access.rules for right in rule.rights} == set(Right)


def test_each_file_that_it_links_to_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) > 10
    for link in links:
        assert (ROOT / link).exists(), link


SECTIONS = "http|admin|access|ingest|query|druid|traces"
NO_KEYS = {"druid.task_stuck", "druid.sqlTimeZone"}
"""an event of the log and a property of a request, which look like keys"""
KEYS = set(re.findall(rf"`((?:{SECTIONS})\.\w+)`", README)) - NO_KEYS


@pytest.mark.parametrize("name", sorted(KEYS))
def test_each_key_that_the_readme_names_exists(name: str) -> None:
    section, key = name.split(".")
    assert key in type(getattr(Config(), section)).model_fields
