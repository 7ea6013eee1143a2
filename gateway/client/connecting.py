"""How a connection comes about: the socket, TLS, the server's first word; and why it does not.

Law: what will fail again as it is (`TlsFailed`) is told from what may pass (`ConnectionLost`).
"""

import asyncio
import ssl

from gateway.client.address import Address
from gateway.client.connection import Connection
from gateway.client.errors import ClientError, ConnectionLost, TlsFailed

CONNECT_TIMEOUT_S = 10.0
DEAD_AFTER_S = 30.0


async def connect(
    address: Address,
    *,
    timeout_s: float = CONNECT_TIMEOUT_S,
    dead_after_s: float = DEAD_AFTER_S,
) -> Connection:
    """Connect and wait for the server's SETTINGS. Raises `ConnectionLost`, `TlsFailed`."""
    loop = asyncio.get_running_loop()
    connection = Connection(address, dead_after_s)
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(
                lambda: connection, address.host, address.port, ssl=address.tls
            )
            await connection.wait_ready()
    except BaseException as exc:
        if connection.made:
            await connection.close()
        failure = _why_not(address, exc, timeout_s)
        if failure is None:
            raise
        raise failure from exc
    return connection


def _why_not(address: Address, exc: BaseException, timeout_s: float) -> ClientError | None:
    """What the client's user is told; None: the exception says it itself."""
    if isinstance(exc, TimeoutError):
        return ConnectionLost(f"{address.authority} gave no HTTP/2 answer in {timeout_s} s")
    if isinstance(exc, ssl.SSLError) and not isinstance(exc, ssl.SSLEOFError):
        return TlsFailed(f"no TLS with {address}: {exc.reason or exc}: {_remedy(exc)}")
    if isinstance(exc, OSError):
        return ConnectionLost(f"cannot connect to {address.authority}: {exc}")
    return None


def _remedy(exc: ssl.SSLError) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"{exc.verify_message}. Give ca_file, or the name that the certificate is for"
    return "is it an https port, and does it take this client's certificate?"
