"""What is allowed, and hardly meant: `headrace config check` tells, and the log at the start."""

import importlib.util
import ipaddress
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from gateway.config.errors import Problem
from gateway.config.explaining import contradiction
from gateway.config.files import open_to_all
from gateway.config.keys import PREFIX
from gateway.config.loading import Loaded
from gateway.config.memory import in_words, most_memory, there_is
from gateway.config.sections import Config

_NEARLY_OURS = re.compile(r"HEADRACE_[A-Z]+__", re.IGNORECASE)


def cautions(loaded: Loaded, names: tuple[str, ...] = ()) -> list[Problem]:
    """All that there are. ``names`` of variables in the environment are looked at for slips."""
    config = loaded.config
    found = [contradiction(sentence, loaded.place) for look in _LOOKS for sentence in look(config)]
    found += open_to_all(loaded)
    found += _idle_sections(loaded)
    found += (
        Problem(place=name, key="", what="is not read", remedy=f"Keys begin with {PREFIX}")
        for name in names
        if _NEARLY_OURS.match(name)
    )
    return found


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _listeners(config: Config) -> Iterator[str]:
    http, admin, access = config.http, config.admin, config.access
    # Limits alone ask nobody for anything.
    asks = bool(access.users_file or access.tokens_file or access.jwt or access.rules)
    if not is_loopback(http.host):
        if not asks and http.tls_client_auth != "required":
            yield (
                f"http.host is {http.host}: whoever reaches it may insert and query, for nobody is "
                "asked for credentials; set access.users_file, access.tokens_file or access.jwt, "
                "and access.rules"
            )
        if http.tls_cert_file is None:
            yield (
                f"http.host is {http.host} without TLS: rows and credentials travel in the clear "
                "unless a proxy before it speaks TLS; set http.tls_cert_file and http.tls_key_file"
            )
    if admin.port is not None and not is_loopback(admin.host):
        if not asks:
            yield (
                f"admin.host is {admin.host}: whoever reaches it may see, change and drop rows; "
                "keep it on the loopback, or set access.rules"
            )
        if admin.tls_cert_file is None:
            yield (
                f"admin.host is {admin.host} without TLS: set admin.tls_cert_file and "
                "admin.tls_key_file, or keep it on the loopback"
            )


def _in_the_clear(config: Config) -> Iterator[str]:
    druid = config.druid
    url = urlsplit(druid.url)
    shows = druid.username is not None or druid.token is not None or druid.token_file is not None
    is_clear = url.scheme == "http" and not is_loopback(url.hostname or "")
    if config.warehouse == "druid" and shows and is_clear:
        yield "druid.url begins with http://: credentials travel in the clear; make it https://"
    jwks_url = urlsplit((config.access.jwt and config.access.jwt.jwks_url) or "")
    if jwks_url.scheme == "http" and not is_loopback(jwks_url.hostname or ""):
        yield (
            "access.jwt.jwks_url begins with http://: who is between can put keys of their own "
            "there; make it https://"
        )
    if config.access.jwt is not None and config.access.jwt.audience is None:
        yield (
            "access.jwt.audience is not set: tokens that were issued for other services are taken"
        )


def _room(config: Config) -> Iterator[str]:
    ingest = config.ingest
    if ingest.retention_bytes + ingest.batch_bytes_max > ingest.spool_limit_bytes:
        yield (
            "ingest.retention_bytes and ingest.batch_bytes_max together are larger than "
            "ingest.spool_limit_bytes: committed rows may leave no room for new ones until "
            "ingest.retention_s is over"
        )
    memory, limit = most_memory(config), there_is()
    if memory.fixed_bytes + memory.connection_bytes > limit:
        largest = max(memory.parts, key=lambda name: memory.parts[name])
        yield (
            f"the limits add up to {in_words(memory.fixed_bytes)} of memory, and "
            f"{in_words(memory.connection_bytes)} for each connection, and there are "
            f"{in_words(limit)}: lower some; the most is for {largest}"
        )


def _extras(config: Config) -> Iterator[str]:
    if config.traces.otlp_url is not None and importlib.util.find_spec("opentelemetry") is None:
        yield 'traces.otlp_url needs OpenTelemetry: pip install "headrace[traces]"'


def _idle_sections(loaded: Loaded) -> Iterator[Problem]:
    """Keys of the warehouse that is not in use."""
    used = loaded.config.warehouse
    idle = "druid" if used == "embedded" else "embedded"
    for layer in loaded.layers:
        section = layer.values.get(idle)
        # The flag is given with its default by scripts that serve both.
        if layer.kind != "flag" and isinstance(section, dict) and section:
            yield Problem(
                place=layer.place((idle,)),
                key=idle,
                what=f'is set, and warehouse is "{used}": nothing looks at it',
            )


_LOOKS: tuple[Callable[[Config], Iterator[str]], ...] = (_listeners, _in_the_clear, _room, _extras)
