"""The README's own commands, run as they stand, against a gateway on another port."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.gateways import GatewayProcess

README = (Path(__file__).parents[2] / "README.md").read_text()
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


@pytest.mark.parametrize("name", re.findall(r"`((?:http|ingest|query)\.\w+)`", README))
def test_each_key_that_the_readme_names_exists(name: str) -> None:
    from gateway.config import Config

    section, key = name.split(".")
    assert key in type(getattr(Config(), section)).model_fields
