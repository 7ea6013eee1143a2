"""The C load client, compiled on the fly: see the head of `wire.c` for its loads."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.processes import BenchFailed

SOURCE = Path(__file__).with_name("wire.c")
LIMIT_S = 90.0


def compiler() -> str | None:
    """The C compiler of this machine, if it has one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(folder: Path) -> Path:
    """Compile the client into ``folder``. Raises `BenchFailed`."""
    cc, target = compiler(), folder / "wire"
    if cc is None:
        raise BenchFailed("there is no C compiler")
    command = [cc, "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(target), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode != 0:
        raise BenchFailed(f"the load client does not compile: {done.stderr[-2000:]}")
    return target


def load(client: Path, kind: str, port: int, arguments: Sequence[object]) -> dict[str, Any]:
    """Run one load and read the JSON line that it prints. Raises `BenchFailed`."""
    command = [str(client), kind, str(port), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode != 0:
        raise BenchFailed(f"{kind} on port {port}: {done.stderr.strip()[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
