"""Which keys a running gateway takes up on SIGHUP, and who hears of it.

`RELOADABLE` is the one table. A change of any other key is named in the log and needs a restart.

Whoever owns what such a key means registers a listener where the runtime builds it::

    reloads.add("access", access.reload)      # a Callable[[Config], None]

Laws of a listener: it is called on the event loop, with a configuration that is valid as a whole
(keys that need a restart have their old values in it). It must not block for long. It takes up all
of what it got, or raises (`ConfigError`, `OSError`, `ValueError`) and goes on with what it had. It
is called on every SIGHUP, also where no key has changed: files that keys name may have.
"""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from gateway.config.errors import ConfigError
from gateway.config.sections import Config

Listener = Callable[[Config], None]

RELOADABLE = (
    "access.*",
    "druid.password",
    "druid.password_file",
    "druid.token",
    "druid.token_file",
    "druid.username",
    "http.drain_s",
    "http.tls_cert_file",
    "http.tls_key_file",
    "http.tls_client_ca_file",
    "admin.tls_cert_file",
    "admin.tls_key_file",
    "ingest.batch_age_s",
    "ingest.batch_bytes_max",
    "ingest.batch_rows_max",
    "ingest.channels_max",
    "ingest.retention_bytes",
    "ingest.retention_s",
    "ingest.spool_age_limit_s",
    "ingest.spool_limit_bytes",
    "ingest.stall_s",
    "ingest.sweep_s",
    "log.level",
    "query.mailbox_bytes",
    "query.mailbox_rows",
    "query.pull_queries_max",
    "query.pull_rows_max",
    "query.pull_timeout_s",
    "query.push_queries_max",
    "query.slow_reader_s",
)
"""Keys, or patterns of them."""


def is_reloadable(key: str) -> bool:
    """Whether a running gateway takes ``key`` (``section.key``) up."""
    return any(fnmatchcase(key, pattern) for pattern in RELOADABLE)


class Reloads:
    """Who hears of a new configuration."""

    def __init__(self) -> None:
        self._listeners: list[tuple[str, Listener]] = []

    def add(self, name: str, listener: Listener) -> None:
        """``listener`` hears from now on; ``name`` says whose it is where it fails."""
        self._listeners.append((name, listener))

    def apply(self, config: Config) -> list[str]:
        """Tell all of them. What they could not take up is returned, a sentence each."""
        return list(self._failures(config))

    def _failures(self, config: Config) -> Iterable[str]:
        for name, listener in self._listeners:
            try:
                listener(config)
            except (ConfigError, OSError, ValueError) as error:
                yield f"{name}: {error}"
            except Exception as fault:  # noqa: BLE001 - the others must hear all the same
                yield f"{name}: {type(fault).__name__}: {fault}"
