"""Options that the commands share: which gateway, how to print."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gateway.commands.failures import BadConfiguration, WrongUsage
from gateway.commands.port import AdminPort
from gateway.config import ConfigError, load

State = Literal["open", "retried", "dropped", "all"]

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - it is replaced, not bound


@Parameter(name="*")
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
    json: Annotated[bool, Parameter(help="print JSON lines", negative="")] = False

    @property
    def port(self) -> AdminPort:
        """The admin port. Raises `CommandFailed` where none is named."""
        return AdminPort(self.admin or self._configured())

    def _configured(self) -> str:
        try:
            admin = load(self.config, {}).admin
        except ConfigError as error:
            raise BadConfiguration(str(error)) from None
        if not admin.port:
            raise WrongUsage(
                "the configuration names no admin port (admin.port is "
                f"{'off' if admin.port is None else admin.port}): say where it is with --admin"
            )
        host = _EVERY_ADDRESS.get(admin.host, admin.host)
        return f"http://[{host}]:{admin.port}" if ":" in host else f"http://{host}:{admin.port}"


DEFAULT_REACH = Reach()
