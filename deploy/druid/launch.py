"""How each role is launched: its ports and its command line.

Owns the meaning of `conf/`: `common/` for every JVM, one folder a role beside it, and in each a
`jvm.config` of flags. Law: the files hold no port and no absolute path; both are given here, so the
same files serve any number of clusters on one machine.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from pathlib import Path

CONF = Path(__file__).with_name("conf")
HOST = "127.0.0.1"

# In the order of starting: each needs some of those before it.
ROLES = ("zookeeper", "coordinator", "broker", "historical", "indexer", "router")

# Derby is no role: the coordinator serves it.
DEFAULT_PORTS: Mapping[str, int] = {
    "router": 8888,
    "coordinator": 8081,
    "broker": 8082,
    "historical": 8083,
    "indexer": 8091,
    "zookeeper": 2181,
    "derby": 1527,
}

# Below the range from which the kernel takes ports for outgoing connections: the first roles make
# many of those while the later ones have yet to bind.
FREE_RANGE = range(20000, 32000)


class PortTaken(Exception):
    """Somebody else listens where a role is to listen."""


def choose_ports(wish: str) -> dict[str, int]:
    """`default`, `free`, or a number: the router's port, the others follow it."""
    if wish == "default":
        return dict(DEFAULT_PORTS)
    if wish == "free":
        candidates = random.sample(FREE_RANGE, len(FREE_RANGE))
        unused = (port for port in candidates if is_free(port))
        return {name: next(unused) for name in DEFAULT_PORTS}
    base = int(wish)
    return {name: base + offset for offset, name in enumerate(DEFAULT_PORTS)}


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the JVM does: a port whose last connections linger may be taken again.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def require_free(ports: Mapping[str, int]) -> None:
    for name, port in ports.items():
        if not is_free(port):
            raise PortTaken(
                f"port {port}, meant for {name}, is taken: stop what listens there, "
                "or choose others with --ports free"
            )


def command(role: str, *, java: str, lib: Path, ports: Mapping[str, int]) -> list[str]:
    class_path = f"{CONF / 'common'}:{CONF / role}:{lib}/*"
    flags = [*_flags("common"), *_flags(role), *_port_flags(role, ports)]
    return [java, *flags, "-cp", class_path, *_main(role)]


def zookeeper_config(ports: Mapping[str, int]) -> str:
    """ZooKeeper takes its port from its file alone, not from the command line."""
    settings = (CONF / "zookeeper" / "zoo.cfg").read_text()
    return f"{settings}clientPort={ports['zookeeper']}\n"


def worker_capacity() -> int:
    """How many tasks the indexer runs at once."""
    name = "druid.worker.capacity="
    lines = (CONF / "indexer" / "runtime.properties").read_text().splitlines()
    return next(int(line.removeprefix(name)) for line in lines if line.startswith(name))


def _main(role: str) -> list[str]:
    if role == "zookeeper":
        return ["org.apache.zookeeper.server.quorum.QuorumPeerMain", "./zoo.cfg"]
    return ["org.apache.druid.cli.Main", "server", role]


def _flags(folder: str) -> list[str]:
    lines = (CONF / folder / "jvm.config").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _port_flags(role: str, ports: Mapping[str, int]) -> list[str]:
    if role == "zookeeper":
        return []
    derby = ports["derby"]
    database = f"jdbc:derby://localhost:{derby}/metadata.db;create=true"
    return [
        f"-Ddruid.plaintextPort={ports[role]}",
        f"-Ddruid.zk.service.host={HOST}:{ports['zookeeper']}",
        f"-Ddruid.metadata.storage.connector.port={derby}",
        f"-Ddruid.metadata.storage.connector.connectURI={database}",
    ]
