"""Where the configuration's values come from, and what is said of those that cannot be used.

Later sources win: defaults < TOML file < environment (``HEADRACE__SECTION__KEY``) < flags. What is
unknown, out of range or contradictory stops the start with a sentence that names it.
"""

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    TomlConfigSettingsSource,
)

from gateway.config.sections import Config


class ConfigError(Exception):
    """The configuration cannot be used; the text names the place and the remedy."""


def load(file: Path | None, overrides: dict[str, Any]) -> Config:
    """Read the configuration. ``overrides`` (nested, from flags) win. Raises `ConfigError`."""
    if file is not None and not file.is_file():
        raise ConfigError(f"configuration file {file} does not exist")

    class FromFile(Config):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources = (init_settings, env_settings)
            return sources if file is None else (*sources, TomlConfigSettingsSource(cls, file))

    try:
        return FromFile(**overrides)
    except ValidationError as error:
        raise ConfigError(_explain(error, file)) from None
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from None


def _explain(error: ValidationError, file: Path | None) -> str:
    lines = [f"configuration{f' ({file})' if file else ''} cannot be used:"]
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "limits"
        lines.append(f"  {place}: {problem['msg']}")
    return "\n".join(lines)
