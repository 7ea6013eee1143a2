"""Who asks, and over what: credentials and TLS of the client against a scripted server."""

import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.client import Client, KsqlResponseError, TlsFailed
from tests.unit.client_peer import Exchange, scripted

INFO = b'{"KsqlServerInfo":{"version":"1"}}'
SECRET = "p@ss:wörd"


class Asked:
    """What each request showed."""

    def __init__(self) -> None:
        self.shown: list[str | None] = []
        self.schemes: list[str] = []

    async def __call__(self, exchange: Exchange) -> None:
        self.shown.append(exchange.headers.get("authorization"))
        self.schemes.append(exchange.headers[":scheme"])
        exchange.respond(200, INFO)


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


async def test_basic_credentials_go_with_every_request() -> None:
    asked = Asked()
    async with (
        scripted(asked) as server,
        Client(server.url, username="edge", password=SECRET) as client,
    ):
        await client.info()
        await client.info()
    assert asked.shown == [basic("edge", SECRET)] * 2


async def test_credentials_in_a_url_are_taken_out_of_it() -> None:
    asked = Asked()
    async with scripted(asked) as server:
        url = server.url.replace("http://", "http://edge:p%40ss%3Aw%C3%B6rd@")
        async with Client(url) as client:
            await client.info()
            assert repr(client) == f"<Client {server.url}>"
    assert asked.shown == [basic("edge", SECRET)]


async def test_a_token_is_shown_as_bearer_and_a_callable_is_asked_each_time() -> None:
    asked = Asked()
    tokens = iter(["one", "two"])

    async def renewed() -> str:
        return next(tokens)

    async with scripted(asked) as server:
        async with Client(server.url, token="fixed") as client:
            await client.info()
        async with Client(server.url, token=renewed) as client:
            await client.info()
            await client.info()
    assert asked.shown == ["Bearer fixed", "Bearer one", "Bearer two"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"username": "a", "token": "t"}, "one of them"),
        ({"password": "p"}, "needs a username"),
        ({"username": "a:b", "password": "p"}, "no colon"),
        ({"token": "two words"}, "printable ASCII"),
        ({"token": "line\r\nx-evil: 1"}, "printable ASCII"),
        ({"key_file": "key.pem"}, "needs cert_file"),
        ({"tls": ssl.create_default_context(), "ca_file": "ca.pem"}, "one of them"),
    ],
)
def test_options_that_contradict_one_another_are_refused_and_no_secret_is_told(
    options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        Client("https://127.0.0.1:1", **options)
    assert "evil" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://edge:hunter2@h:port", "ftp://edge:hunter2@h", "http://u:hunter2@h/p"]
)
def test_a_url_that_is_refused_is_told_without_its_credentials(url: str) -> None:
    with pytest.raises(ValueError, match="expected a URL") as refused:
        Client(url)
    assert "hunter2" not in str(refused.value)


def test_options_of_tls_on_a_plain_url_are_refused() -> None:
    with pytest.raises(ValueError, match="TLS is for https"):
        Client("http://127.0.0.1:1", ca_file="ca.pem")


@pytest.mark.parametrize(
    ("status", "headers", "body", "code", "text", "retry_after_s"),
    [
        (401, {}, b"", 40100, "credentials", None),
        (403, {}, b'{"error_code":40300,"message":"may not"}', 40300, "may not", None),
        (429, {"retry-after": "7"}, b"", 42900, "no room", 7.0),
        (429, {"retry-after": "soon"}, b'{"error_code":42900,"message":"m"}', 42900, "m", None),
    ],
)
async def test_a_refusal_tells_its_status_its_code_and_when_to_come_again(
    status: int,
    headers: dict[str, str],
    body: bytes,
    code: int,
    text: str,
    retry_after_s: float | None,
) -> None:
    async def script(exchange: Exchange) -> None:
        exchange.respond(status, body, headers)

    async with scripted(script) as server, Client(server.url, token="s3cret") as client:
        with pytest.raises(KsqlResponseError, match=text) as refused:
            await client.info()
    error = refused.value
    assert (error.status, error.code, error.retry_after_s) == (status, code, retry_after_s)
    assert "s3cret" not in f"{error}{error!r}{client!r}{vars(client)}"


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def server_tls(authority: trustme.CA, *protocols: str, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    context.set_alpn_protocols(list(protocols))
    return context


@contextlib.asynccontextmanager
async def secure(script: Asked, context: ssl.SSLContext) -> AsyncIterator[str]:
    async with scripted(script, tls=context) as server:
        yield server.url


async def test_https_speaks_http2_by_alpn_and_shows_its_credentials(
    authority: trustme.CA, ca_file: Path
) -> None:
    asked = Asked()
    async with secure(asked, server_tls(authority, "h2", "http/1.1")) as url:
        async with Client(url, ca_file=ca_file, username="edge", password=SECRET) as client:
            await client.info()
        given = ssl.create_default_context(cafile=ca_file)
        async with Client(url, tls=given, token="t") as client:
            await client.info()
    assert asked.shown == [basic("edge", SECRET), "Bearer t"]
    assert asked.schemes == ["https"] * 2


async def test_a_server_that_does_not_choose_http2_is_refused_by_name(
    authority: trustme.CA, ca_file: Path
) -> None:
    async with secure(Asked(), server_tls(authority, "http/1.1")) as url:
        with pytest.raises(TlsFailed, match="does not choose HTTP/2 by ALPN"):
            await Client(url, ca_file=ca_file).info()


async def test_a_certificate_that_is_not_trusted_or_of_another_name_is_final_at_once(
    authority: trustme.CA, ca_file: Path
) -> None:
    rows = [{"A": 1}]
    async with secure(Asked(), server_tls(authority, "h2")) as url:
        with pytest.raises(TlsFailed, match="ca_file"):
            # It would be tried again for ever if it were a lost connection.
            await anext(Client(url, reconnect_max_s=None).insert("T", rows, channel="edge"))
    async with secure(Asked(), server_tls(authority, "h2", name="elsewhere.example")) as url:
        with pytest.raises(TlsFailed, match="certificate"):
            await Client(url, ca_file=ca_file).info()


async def test_an_older_tls_than_1_2_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    given = ssl.create_default_context(cafile=ca_file)
    assert Client("https://h", tls=given) is not None
    made = Client("https://h", ca_file=ca_file)._address.tls
    assert made is not None
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2


async def test_a_client_shows_its_certificate(
    authority: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    issued = authority.issue_cert("edge@example.org")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "edge.pem")
    context = server_tls(authority, "h2")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    asked = Asked()
    async with (
        secure(asked, context) as url,
        Client(url, ca_file=ca_file, cert_file=tmp_path / "edge.pem") as client,
    ):
        assert await client.info() == {"version": "1"}
