"""The certificates of the gateway: read at the start, again on SIGHUP and when they change.

Whether a port speaks TLS is settled at the start; what it shows and whom it trusts is not.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from gateway.config import Config
from gateway.http.tls import ServerTls, TlsFiles
from gateway.runtime.wiring import admin_tls_files, druid_tls, fetch_tls_files, tls_files
from gateway.tls import TlsUnusable


class Certificates:
    """Those of the front door, the admin port and the listener for Druid's workers, and what we
    show and trust towards Druid; None: no TLS there.

    Raises `gateway.tls.TlsUnusable` if the files of one cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self.front = _made(tls_files(config))
        self.admin = _made(admin_tls_files(config))
        self.fetches = _made(fetch_tls_files(config))
        self.druid = druid_tls(config)

    @property
    def expires_at(self) -> Mapping[str, float]:
        """By port, when what it shows expires: seconds since 1970."""
        return {name: tls.expires_at for name, tls in self._ports().items() if tls is not None}

    def reload(self, config: Config) -> None:
        """Read all files again. Raises `TlsUnusable`; a port with bad files keeps what it had."""
        wanted = {
            "http": tls_files(config),
            "admin": admin_tls_files(config),
            "fetches": fetch_tls_files(config),
        }
        failures = [
            failure
            for name, tls in self._ports().items()
            if (failure := _reloaded(name, tls, wanted[name])) is not None
        ]
        if self.druid is not None:
            try:
                self.druid.reload()
            except TlsUnusable as error:
                failures.append(str(error))
        if failures:
            raise TlsUnusable("; ".join(failures))

    async def watch(self) -> None:
        """Take up changed files, until cancelled."""
        async with asyncio.TaskGroup() as watching:
            for tls in (*self._ports().values(), self.druid):
                if tls is not None:
                    watching.create_task(tls.watch())

    def _ports(self) -> Mapping[str, ServerTls | None]:
        return {"http": self.front, "admin": self.admin, "fetches": self.fetches}


def _made(files: TlsFiles | None) -> ServerTls | None:
    return ServerTls(files) if files is not None else None


def _reloaded(name: str, tls: ServerTls | None, files: TlsFiles | None) -> str | None:
    """Why it could not be; None if it was, or there is nothing to be."""
    if tls is None and files is None:
        return None
    if tls is None or files is None:
        return f"{name}: TLS is turned on and off by a restart only"
    try:
        # Who is asked for a certificate is settled at the start, too.
        tls.reload(replace(files, client_auth=tls.client_auth))
    except TlsUnusable as error:
        return str(error)
    return None
