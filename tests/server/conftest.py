"""One gateway on the embedded warehouse for each module; tests keep apart by their stream names."""

from collections.abc import Iterator

import pytest

from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import declare


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with the default configuration, which must end in peace."""
    with gateway_process(tmp_path_factory.mktemp("gateway") / "data") as running:
        yield running
        complaints = running.complaints
        assert running.stop() == 0
    assert complaints == []


@pytest.fixture
def peer(gateway: GatewayProcess) -> Iterator[Peer]:
    """A connection with the windows of a plain client."""
    with gateway.peer() as connected:
        yield connected


@pytest.fixture
def stream_name(peer: Peer) -> str:
    """A declared stream of its own, with `tests.server.ksqldb.COLUMNS`."""
    return declare(peer)
