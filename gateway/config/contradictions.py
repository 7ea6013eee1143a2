"""Where keys contradict one another. Pure.

Each sentence names the keys and the remedy, and never a value that may be secret; where those keys
were set is found by their names (`gateway.config.explaining`). What has to do with TLS and
credentials is in `safety`.
"""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.config.safety import unsafe

if TYPE_CHECKING:
    from gateway.config.sections import Config

ANONYMOUS = "anonymous"
_ASKING = ("users_file", "tokens_file", "jwt")
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - looked for, not listened on
_ORIGIN = re.compile(
    r"(?!http://.*:80\Z|https://.*:443\Z)"
    r"https?://(?:[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::[1-9]\d{0,4})?"
)
"""As browsers send them: in small letters, without a default port."""


class Contradictory(ValueError):
    """Keys contradict one another: ``sentences``."""

    def __init__(self, sentences: tuple[str, ...]) -> None:
        super().__init__("; ".join(sentences))
        self.sentences = sentences


def contradictions(config: "Config") -> tuple[str, ...]:
    """All that there are."""
    return tuple(sentence for look in _LOOKS for sentence in look(config))


def _limits(config: "Config") -> Iterator[str]:
    http, ingest, query = config.http, config.ingest, config.query
    if http.row_limit_bytes > ingest.batch_bytes_max:
        yield (
            "http.row_limit_bytes must not be larger than ingest.batch_bytes_max: "
            "a row must fit into a batch"
        )
    if http.stream_window_bytes > http.connection_window_bytes:
        yield (
            "http.stream_window_bytes must not be larger than http.connection_window_bytes: "
            "a stream's window lies within its connection's"
        )
    if ingest.batch_bytes_max > ingest.spool_limit_bytes:
        yield (
            "ingest.batch_bytes_max must not be larger than ingest.spool_limit_bytes: "
            "a batch must fit into the spool"
        )
    if ingest.retry_s > ingest.retry_max_s:
        yield "ingest.retry_s must not be larger than ingest.retry_max_s: pauses grow up to it"
    if query.mailbox_bytes > query.evaluated_bytes:
        yield (
            "query.mailbox_bytes must not be larger than query.evaluated_bytes: "
            "what is kept for all readers must hold what waits for one"
        )


def _ports(config: "Config") -> Iterator[str]:
    listeners = [("http.port", config.http.host, config.http.port)]
    if config.admin.port is not None:
        listeners.append(("admin.port", config.admin.host, config.admin.port))
    if config.warehouse == "druid" and config.druid.fetch_host is not None:
        listeners.append(("druid.fetch_port", config.druid.fetch_host, config.druid.fetch_port))
    for at, (key, host, port) in enumerate(listeners):
        for other, other_host, other_port in listeners[:at]:
            hosts = {host, other_host}
            if port == other_port != 0 and (len(hosts) == 1 or hosts & _EVERY_ADDRESS):
                yield f"{key} and {other} are both {port} on one address: give {key} another"


def _hosts(config: "Config") -> Iterator[str]:
    for name in ("http", "admin"):
        if not getattr(config, name).host:
            yield f'{name}.host is empty: name an address; "0.0.0.0" stands for all'
    if config.druid.fetch_host == "":
        yield "druid.fetch_host is empty: name an address, or leave it out"


def _urls(config: "Config") -> Iterator[str]:
    jwt = config.access.jwt
    urls = {
        "druid.fetch_url": config.druid.fetch_url,
        "traces.otlp_url": config.traces.otlp_url,
        "access.jwt.jwks_url": None if jwt is None else jwt.jwks_url,
    }
    for key, url in urls.items():
        if url is None:
            continue
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            yield f"{key} must begin with http:// or https:// and name a host"
    if "@" in urlsplit(config.druid.fetch_url or "").netloc:
        yield "druid.fetch_url must hold no user and password: it is written into Druid's tasks"
    for origin in config.http.cors_origins:
        if origin == "*":
            yield 'http.cors_origins must name each origin: "*" would let in every page there is'
        elif not _ORIGIN.fullmatch(origin):
            yield (
                "http.cors_origins must hold origins as browsers send them, such as "
                '"https://app.example.com" or "http://localhost:3000": a scheme and a host in '
                "small letters, a port that is not the scheme's own, no path and no slash at the "
                "end"
            )


def _access(config: "Config") -> Iterator[str]:
    access, jwt = config.access, config.access.jwt
    if jwt is not None and (jwt.jwks_url is None) == (jwt.jwks_file is None):
        said = "neither is set" if jwt.jwks_url is None else "both are set"
        yield f"access.jwt needs one of access.jwt.jwks_url and access.jwt.jwks_file: {said}"
    asks = any(getattr(access, name) is not None for name in _ASKING)
    can_show = asks or config.http.tls_client_auth != "off"
    if asks and not access.rules:
        asked_by = next(name for name in _ASKING if getattr(access, name) is not None)
        yield (
            f"access.{asked_by} asks for credentials, and access.rules is empty, so that nobody "
            'may do anything: add rules, such as [[access.rules]] principal = "*", '
            'rights = ["insert", "query"]'
        )
    # A pattern is never for those who show nothing: only the name itself is.
    for_all = any(rule.principal == ANONYMOUS for rule in access.rules)
    if access.rules and not can_show and not for_all:
        yield (
            "access.rules are given, and nobody can show who they are: set access.users_file, "
            "access.tokens_file, access.jwt or http.tls_client_auth, or a rule for "
            f'principal = "{ANONYMOUS}"'
        )
    for at, rule in enumerate(access.rules):
        if not rule.rights or not rule.names:
            yield f"access.rules[{at}] grants nothing: name its rights and names"


_LOOKS: tuple[Callable[["Config"], Iterator[str]], ...] = (
    _limits,
    _hosts,
    _ports,
    _urls,
    _access,
    unsafe,
)
