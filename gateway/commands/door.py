"""The front door as the commands see it: which gateway, as whom, and what its failures come to."""

import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gateway.client import (
    Client,
    ClientError,
    ConnectionLost,
    KsqlResponseError,
    QueryFailed,
    StreamReset,
    TlsFailed,
)
from gateway.commands.failures import CommandFailed, NoGateway, Refused, TryLater, WrongUsage
from gateway.commands.who import NOBODY, Who, unknown_caller, without_userinfo

DEFAULT_URL = "http://127.0.0.1:8088"
RETRY_S = 60.0

_LATER = (429, 503)
_UNKNOWN = (401, 403)
_REMEDY = "start one with `headrace serve`, or say where it is: --url or HEADRACE_URL"


@Parameter(name="*", group="Which gateway, and as whom")
@dataclass(frozen=True)
class Door:
    """Which gateway is spoken to, and how its answers are printed."""

    url: Annotated[
        str | None,
        Parameter(
            help=f"URL of the gateway; default: as in the configuration, {DEFAULT_URL}",
            env_var="HEADRACE_URL",
        ),
    ] = None
    config: Annotated[Path | None, Parameter(help="the gateway's TOML file")] = None
    who: Who = NOBODY
    json: Annotated[
        bool,
        Parameter(help="print JSON lines", negative="", show_default=False, group="Parameters"),
    ] = False

    @property
    def address(self) -> str:
        """The URL. Raises `CommandFailed` where the configuration names none."""
        return self.url or self._configured()

    @property
    def place(self) -> str:
        """The URL as it may be shown."""
        return without_userinfo(self.address)

    @contextlib.asynccontextmanager
    async def opened(self, *, retry_s: float = RETRY_S) -> AsyncIterator[Client]:
        """A client whose connection is there. Raises `CommandFailed`.

        ``retry_s``: how long what can be resumed waits for a gateway that went away.
        """
        url = self.address
        try:
            client = Client(url, reconnect_max_s=retry_s, **self._options(url))
        except ValueError as error:
            raise WrongUsage(str(error)) from None
        try:
            await client.__aenter__()
        except ConnectionLost as lost:
            raise NoGateway(_no_gateway(self.place, lost)) from None
        except TlsFailed as failed:
            remedy = "on the command line: --ca-file, --url"
            raise NoGateway(f"{failed} ({remedy})") from None
        except ClientError as failure:
            raise CommandFailed(f"{self.place}: {failure}") from None
        try:
            yield client
        finally:
            await client.close()

    def _options(self, url: str) -> dict[str, Any]:
        """What the client is to show; nothing that is not given."""
        who = self.who
        options = {"username": who.user, "password": who.password, "token": who.token}
        if url.lower().startswith("https:"):
            options["tls"] = who.tls  # type: ignore[assignment]
        return {name: value for name, value in options.items() if value is not None}

    def _configured(self) -> str:
        # Reading the configuration takes as long as all the rest of a start.
        if self.config is None and not any(name.startswith("HEADRACE__") for name in os.environ):
            return DEFAULT_URL
        from gateway.commands.options import configured, url_of

        http = configured(self.config).http
        if not http.port:
            raise WrongUsage("the configuration leaves the port open (http.port is 0): say --url")
        return url_of(http.host, http.port, tls=http.tls_cert_file is not None)


DEFAULT_DOOR = Door()


@contextlib.contextmanager
def told(door: Door) -> Iterator[None]:
    """What the client raises in the block, as the commands' failures."""
    try:
        yield
    except KsqlResponseError as refused:
        raise refusal(refused, door) from None
    except QueryFailed as failed:
        kind = TryLater if failed.code // 100 in _LATER else Refused
        raise kind(failed.message) from None
    except (ConnectionLost, StreamReset) as lost:
        raise TryLater(f"the connection to {door.place} broke off: {lost}") from None
    except ClientError as failure:
        raise CommandFailed(f"{door.place}: {failure}") from None


def refusal(refused: KsqlResponseError, door: Door) -> CommandFailed:
    """A refusal as a failure; 429 and 503 are for later."""
    if refused.status in _LATER or refused.code // 100 in _LATER:
        return TryLater(refused.message)
    if refused.status in _UNKNOWN:
        return Refused(unknown_caller(refused.status, refused.message, door.place, door.who))
    return Refused(refused.message)


def _no_gateway(place: str, lost: ConnectionLost) -> str:
    cause = lost.__cause__
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError | ConnectionResetError):
        return f"no gateway answers at {place} ({lost}): {_REMEDY}"
    asks = "want a client certificate: --cert-file" if place.startswith("https:") else "want https"
    return f"what is at {place} does not answer as a gateway does ({lost}): may it {asks}?"
