"""A real Apache Druid on loopback: assembled from jars, booted, stopped, and broken on purpose.

    python deploy/druid/cluster.py assemble|start|stop|status [--home DIR] [--ports WHICH]

Owns the run folder: `data/` (each JVM works there), `log/` and `pid/` (one file a role),
`ports.json` (where the roles listen), `urls.json` (there from readiness to stop). Laws:

* a run folder holds one cluster: a second start finds it and leaves it alone;
* every start is fresh, but for `--keep`: no test sees what another left;
* start ends with a cluster that answers queries and takes tasks, or with none and the reason;
* only processes that a start of the same run folder made are ever signalled (see process.py).

The folder of jars is a parameter of its own, so that many run folders can share one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from jars import AssemblyFailed, Missing, assemble, complete, java
from launch import (
    HOST,
    ROLES,
    PortTaken,
    choose_ports,
    command,
    require_free,
    worker_capacity,
    zookeeper_config,
)
from process import Process, locked
from readiness import Step, answers, steps

HOME = Path(__file__).resolve().parents[2] / ".druid"
READY_WITHIN = 180.0
STOP_WITHIN = 15.0
POLL = 0.1
TAIL = 25


class BootFailed(Exception):
    """A role died, or was not ready in time; the text says which, with the end of its log."""


class Cluster:
    """One run folder, and the processes that it names; they need not be children of this one."""

    def __init__(
        self,
        run: Path,
        lib: Path = HOME / "lib",
        ports: Mapping[str, int] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._run = run.resolve()
        self._lib = lib.resolve()
        self._say = say
        self._processes: dict[str, Process] = {}
        self._ports = dict(ports or choose_ports("default"))
        if any(self.pids().values()):
            self._recall_ports()

    @property
    def router(self) -> str:
        return self._url("router")

    @property
    def broker(self) -> str:
        return self._url("broker")

    @property
    def coordinator(self) -> str:
        return self._url("coordinator")

    @property
    def indexer(self) -> str:
        return self._url("indexer")

    @property
    def urls(self) -> dict[str, str | int]:
        names = ("router", "broker", "coordinator", "indexer")
        return {name: self._url(name) for name in names} | {"capacity": worker_capacity()}

    def pid(self, role: str) -> int | None:
        process = self._process(role)
        return process.pid if process is not None and process.alive() else None

    def pids(self) -> dict[str, int | None]:
        return {role: self.pid(role) for role in ROLES}

    def start(self, *, keep: bool = False, within: float = READY_WITHIN) -> bool:
        """Boot every role and return True; False if they all run already."""
        with locked(self._run / "lock"):
            pids = self.pids()
            if all(pids.values()):
                self._recall_ports()
                return False
            if any(pids.values()):
                dead = ", ".join(role for role, pid in pids.items() if pid is None)
                raise BootFailed(f"the cluster runs without {dead}: stop it first")
            self._boot(keep=keep, within=within)
            return True

    def stop(self) -> None:
        (self._run / "urls.json").unlink(missing_ok=True)
        for role in reversed(ROLES):
            process = self._process(role)
            if process is not None:
                process.stop(STOP_WITHIN)
                self._pid_file(role).unlink(missing_ok=True)
                self._processes.pop(role, None)

    def kill(self, role: str) -> None:
        """End a role as a crash would: it gets no chance to say goodbye."""
        process = self._process(role)
        if process is not None:
            process.kill()

    def restart(self, role: str, *, within: float = READY_WITHIN) -> None:
        """Run a role again, on its old data; returns when it answers.

        The others may take longer to notice: see wait_ready.
        """
        process = self._process(role)
        if process is not None:
            process.stop(STOP_WITHIN)
        self._spawn(role)
        self._await(answers(role, self._ports), time.monotonic() + within, watched=(role,))

    def wait_ready(self, within: float = READY_WITHIN) -> None:
        """Return once the whole cluster takes tasks and answers queries."""
        limit = time.monotonic() + within
        for step in steps(self._ports):
            self._await(step, limit, watched=ROLES)

    def _boot(self, *, keep: bool, within: float) -> None:
        java()
        if not complete(self._lib):
            raise Missing(f"no jars in {self._lib}: run `cluster.py assemble`")
        require_free(self._ports)
        self._prepare(keep=keep)
        try:
            for role in ROLES:
                self._spawn(role)
            self.wait_ready(within)
        except BaseException:
            # Ctrl-C too: what this start made must not outlive it.
            self.stop()
            raise
        (self._run / "urls.json").write_text(json.dumps(self.urls) + "\n")

    def _prepare(self, *, keep: bool) -> None:
        stale = ("log", "pid") if keep else ("log", "pid", "data")
        for name in stale:
            shutil.rmtree(self._run / name, ignore_errors=True)
        for name in ("log", "pid", "data/tmp"):
            (self._run / name).mkdir(parents=True, exist_ok=True)
        (self._run / "data" / "zoo.cfg").write_text(zookeeper_config(self._ports))
        (self._run / "ports.json").write_text(json.dumps(self._ports) + "\n")

    def _spawn(self, role: str) -> None:
        self._processes[role] = Process.spawn(
            command(role, java=java(), lib=self._lib, ports=self._ports),
            folder=self._run / "data",
            log=self._log_file(role),
            pid_file=self._pid_file(role),
        )

    def _await(self, step: Step, limit: float, *, watched: tuple[str, ...]) -> None:
        while not step.holds():
            for role in watched:
                if self.pid(role) is None:
                    raise BootFailed(f"{role} died while starting\n{self._tail(role)}")
            if time.monotonic() > limit:
                reason = f"{step.role} is not ready in time: {step.what} does not hold"
                raise BootFailed(f"{reason}\n{self._tail(step.role)}")
            time.sleep(POLL)
        self._say(f"{step.role}: {step.what}")

    def _tail(self, role: str) -> str:
        log = self._log_file(role)
        lines = log.read_text(errors="replace").splitlines()[-TAIL:] if log.exists() else []
        return "\n".join([f"the end of {log}:", *lines])

    def _process(self, role: str) -> Process | None:
        """The child if this program made it, else the one that the pid file names."""
        return self._processes.get(role) or Process.load(self._pid_file(role))

    def _recall_ports(self) -> None:
        self._ports = json.loads((self._run / "ports.json").read_text())

    def _pid_file(self, role: str) -> Path:
        return self._run / "pid" / role

    def _log_file(self, role: str) -> Path:
        return self._run / "log" / f"{role}.log"

    def _url(self, role: str) -> str:
        return f"http://{HOST}:{self._ports[role]}"


def _start(cluster: Cluster, home: Path, *, keep: bool) -> int:
    # Only an exception unwinds: without this a SIGTERM would leave half a cluster behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    begun = time.monotonic()
    assemble(home)
    if cluster.start(keep=keep):
        _say(f"ready after {time.monotonic() - begun:.1f} s")
    else:
        _say("runs already")
    print(json.dumps(cluster.urls))
    return 0


def _status(cluster: Cluster) -> int:
    pids = cluster.pids()
    print(json.dumps(pids))
    return 0 if all(pids.values()) else 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A real Apache Druid on loopback.")
    parser.add_argument("verb", choices=("assemble", "start", "stop", "status"))
    parser.add_argument("--home", type=Path, default=HOME, help="holds lib/ (jars) and run/")
    parser.add_argument("--run", type=Path, help="the run folder, if not in home")
    parser.add_argument(
        "--ports", type=choose_ports, default="default", help="default, free, or the first of 7"
    )
    parser.add_argument("--keep", action="store_true", help="start on the data of the last run")
    return parser.parse_args()


def main() -> int:
    chosen = _arguments()
    home: Path = chosen.home.resolve()
    try:
        if chosen.verb == "assemble":
            print(assemble(home))
            return 0
        cluster = Cluster(chosen.run or home / "run", home / "lib", chosen.ports, _say)
        if chosen.verb == "start":
            return _start(cluster, home, keep=chosen.keep)
        if chosen.verb == "status":
            return _status(cluster)
        cluster.stop()
    except (Missing, AssemblyFailed, PortTaken, BootFailed) as failure:
        _say(f"{type(failure).__name__}: {failure}")
        return 2
    except KeyboardInterrupt:
        _say("interrupted")
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
