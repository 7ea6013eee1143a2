"""SIGHUP: the sources are read again, and what can change while the gateway runs does.

Laws:
1. A configuration that cannot be used, by itself or together with what stays as it is until the
   next start, changes nothing. The log says why, with the places.
2. What changed and needs a restart is named, at every reload until there was one.
3. Nothing that happens here ends the gateway.
"""

import asyncio
from collections.abc import Iterator

import structlog

from gateway.config import Config, ConfigError, Reloads
from gateway.config.contradictions import contradictions
from gateway.config.files import require_files
from gateway.config.loading import Loaded, Sources
from gateway.config.reloads import is_reloadable
from gateway.process.notify import ServiceManager

_log = structlog.get_logger("headrace.config")


class Reloading:
    """Reads the sources again when it is asked to. ``config`` is the one that holds now."""

    def __init__(
        self, sources: Sources, config: Config, reloads: Reloads, manager: ServiceManager
    ) -> None:
        self.config = config
        self._sources = sources
        self._reloads = reloads
        self._manager = manager
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """The signal came. While a reload is going on, another follows it."""
        self._asked.set()

    async def run(self, status: str) -> None:
        """Reload whenever asked, until cancelled. ``status`` is what systemd is told between."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._manager.reloading()
            try:
                await self._reload()
            except Exception as fault:  # noqa: BLE001 - law 3
                _log.error("the configuration could not be reloaded", exc_info=fault)
            self._manager.ready(status)

    async def _reload(self) -> None:
        try:
            loaded = await asyncio.to_thread(self._read)
            config = renewed(self.config, loaded.config)
        except ConfigError as error:
            _log.error(
                "the configuration was not reloaded, the old one holds",
                problems=[str(problem) for problem in error.problems] or [str(error)],
            )
            return
        changed = list(changes(self.config, config))
        self.config = config
        for failure in self._reloads.apply(config):
            _log.error("a part of the new configuration was not taken up", failure=failure)
        if waiting := list(changes(config, loaded.config)):
            _log.warning("keys that changed need a restart", keys=waiting)
        _log.info("the configuration was reloaded", changed=changed)

    def _read(self) -> Loaded:
        loaded = self._sources.read()
        require_files(loaded)
        return loaded


def renewed(old: Config, new: Config) -> Config:
    """``old`` with those keys of ``new`` that a running gateway takes up.

    Raises `ConfigError` where the two do not go together.
    """
    sections = {}
    for name in type(old).model_fields:
        section, wanted = getattr(old, name), getattr(new, name)
        keys = getattr(type(section), "model_fields", ())
        update = {key: getattr(wanted, key) for key in keys if is_reloadable(f"{name}.{key}")}
        if update:
            sections[name] = section.model_copy(update=update)
    config = old.model_copy(update=sections)
    if sentences := contradictions(config):
        until = "until the next start, with what needs one to change"
        raise ConfigError(f"{'; '.join(sentences)} ({until})")
    return config


def changes(old: Config, new: Config) -> Iterator[str]:
    """The keys in which they differ: names only, for values may be secret."""
    for name in type(old).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        keys = getattr(type(before), "model_fields", None)
        if keys is None:
            if before != after:
                yield name
            continue
        yield from (f"{name}.{key}" for key in keys if getattr(before, key) != getattr(after, key))
