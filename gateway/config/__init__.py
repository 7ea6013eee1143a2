"""The configuration: every limit and every choice, with its unit in its name.

`sections` has the keys, `loading` where their values come from.
"""

from gateway.config.errors import ConfigError
from gateway.config.loading import load
from gateway.config.reloads import Reloads
from gateway.config.sections import (
    AccessConfig,
    AdminConfig,
    Config,
    DruidConfig,
    EmbeddedConfig,
    HttpConfig,
    IngestConfig,
    LogConfig,
    QueryConfig,
    TracesConfig,
)

__all__ = [
    "AccessConfig",
    "AdminConfig",
    "Config",
    "ConfigError",
    "DruidConfig",
    "EmbeddedConfig",
    "HttpConfig",
    "IngestConfig",
    "LogConfig",
    "QueryConfig",
    "Reloads",
    "TracesConfig",
    "load",
]
