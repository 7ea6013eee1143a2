"""Other people's clients against a gateway: what this folder owns, and what it holds to.

It owns the proof that clients which were not written for this gateway work with it: real ones,
installed unmodified (`installed`, `driven`, ``drivers/``, ``npm/``), and an imitation of ksqlDB's
Java client (`java_imitation`), which cannot be installed here. The tests know the gateway by its
address only. What a client cannot do by a defect of its own is observed too, and stands with its
reason in `abilities`; ksqlDB's compatibility vectors stand in `vectors`. Both are printed into
``README.md`` by `page`.
"""

from collections.abc import Iterator

import pytest

from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway on the embedded warehouse with the default configuration, which ends in peace."""
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
