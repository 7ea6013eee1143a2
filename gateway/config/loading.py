"""The configuration put together: defaults < TOML file < environment < flags.

Law: what is unknown, out of range or contradictory stops the start, all of it at once, each with
the place where it was said.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config.errors import ConfigError, Problem
from gateway.config.explaining import in_order, problems_of, text_of
from gateway.config.sections import Config
from gateway.config.sources import KeyPath, Layer, environment_layer, file_layer, flags_layer


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and who said what. ``layers``: the strongest first."""

    config: Config
    layers: tuple[Layer, ...]

    def layer(self, path: KeyPath) -> Layer | None:
        """Who said what holds at ``path``; None: nobody, it is the default."""
        return next((layer for layer in self.layers if layer.has(path)), None)

    def place(self, path: KeyPath) -> str:
        """Where it was said: ``file:line:column``, a variable, a flag; empty for a default."""
        layer = self.layer(path)
        return "" if layer is None else layer.place(path)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a configuration is read from, again and again: a file, the environment, flags."""

    file: Path | None
    flags: Mapping[str, Any]
    environment: Mapping[str, str] = field(repr=False)

    def read(self) -> Loaded:
        """Read all of them now. Raises `ConfigError`, with every problem that there is."""
        layers = (
            flags_layer(dict(self.flags)),
            environment_layer(self.environment),
            *([] if self.file is None else [file_layer(self.file)]),
        )
        problems = [problem for layer in layers for problem in layer.problems]
        values = merged(layers)
        try:
            config = Config.model_validate(values)
        except ValidationError as error:
            problems += problems_of(error, _placed(layers))
            problems += _contradictions_besides(error, values, layers)
        if problems:
            problems = in_order(problems)
            raise ConfigError(text_of(problems), problems) from None
        return Loaded(config, layers)


def load(file: Path | None, overrides: Mapping[str, Any]) -> Config:
    """Read the configuration. ``overrides`` (nested, from flags) win. Raises `ConfigError`."""
    return Sources(file, overrides, os.environ).read().config


def merged(layers: tuple[Layer, ...]) -> dict[str, Any]:
    """What all layers say together; arrays are not joined, the strongest holds."""
    together: dict[str, Any] = {}
    for layer in reversed(layers):
        _lay(together, layer.values)
    return together


def _lay(under: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping):
            below = under.get(key)
            under[key] = dict(below) if isinstance(below, dict) else {}
            _lay(under[key], value)
        else:
            under[key] = value


def _placed(layers: tuple[Layer, ...]) -> Any:
    """Where a path, or what stands around it, was said; empty: nowhere."""

    def place(path: KeyPath) -> str:
        for length in range(len(path), 1 if len(path) > 1 else 0, -1):
            for layer in layers:
                if layer.has(path[:length]):
                    return layer.place(path[:length])
        return ""

    return place


def _contradictions_besides(
    error: ValidationError, values: dict[str, Any], layers: tuple[Layer, ...]
) -> Iterator[Problem]:
    """Contradictions among the values that are right by themselves: they are looked for last, and
    whoever mends the others should not be told of these only then."""
    wrong = [found["loc"] for found in error.errors(include_url=False)]
    if () in wrong:
        return
    for path in wrong:
        _drop(values, path)
    try:
        Config.model_validate(values)
    except ValidationError as left:
        about = {".".join(map(str, path[:2])) for path in wrong}
        for problem in problems_of(left, _placed(layers)):
            # Of a key that was left out for the try, nothing can be said.
            if not problem.key and not any(name in problem.what for name in about):
                yield problem


def _drop(values: dict[str, Any], path: KeyPath) -> None:
    """Take out the value at ``path``; of an array, all of it."""
    at: Any = values
    for number, part in enumerate(path):
        is_last = number == len(path) - 1 or isinstance(path[number + 1], int)
        if not isinstance(at, dict) or part not in at:
            return
        if is_last:
            del at[part]
            return
        at = at[part]
