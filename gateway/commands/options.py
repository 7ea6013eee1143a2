"""Options that the commands share: which gateway, how to print."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from gateway.commands.failures import BadConfiguration, WrongUsage
from gateway.commands.port import AdminPort
from gateway.commands.who import NOBODY, Who

if TYPE_CHECKING:
    from gateway.config import Config

State = Literal["open", "retried", "dropped", "all"]

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - it is replaced, not bound


@Parameter(name="*", group="Which gateway, and as whom")
@dataclass(frozen=True)
class Reach:
    """Which gateway is spoken to, and how its answers are printed."""

    admin: Annotated[
        str | None,
        Parameter(
            help="URL of the gateway's admin port; default: as in the configuration, "
            "http://127.0.0.1:8089",
            env_var="HEADRACE_ADMIN",
        ),
    ] = None
    config: Annotated[Path | None, Parameter(help="the gateway's TOML file")] = None
    json: Annotated[
        bool,
        Parameter(help="print JSON lines", negative="", show_default=False, group="Parameters"),
    ] = False
    who: Who = NOBODY

    @property
    def port(self) -> AdminPort:
        """The admin port. Raises `CommandFailed` where none is named."""
        return AdminPort(self.admin or self._configured(), self.who)

    def _configured(self) -> str:
        admin = configured(self.config).admin
        if not admin.port:
            raise WrongUsage(
                "the configuration names no admin port (admin.port is "
                f"{'off' if admin.port is None else admin.port}): say where it is with --admin"
            )
        return url_of(admin.host, admin.port, tls=admin.tls_cert_file is not None)


DEFAULT_REACH = Reach()


def configured(file: Path | None) -> "Config":
    """The gateway's configuration, as it would read it. Raises `BadConfiguration`."""
    # Reading it takes as long as all the rest of a start: only who needs it pays for it.
    from gateway.config import ConfigError, load

    try:
        return load(file, {})
    except ConfigError as error:
        raise BadConfiguration(str(error)) from None


def url_of(host: str, port: int, *, tls: bool) -> str:
    """Where a listener that is configured like this is reached from this machine."""
    reached = _EVERY_ADDRESS.get(host, host)
    scheme = "https" if tls else "http"
    return f"{scheme}://[{reached}]:{port}" if ":" in reached else f"{scheme}://{reached}:{port}"
