"""Secrets that live in files of their own, as container platforms mount them.

Law: a secret is a `SecretStr` from here on: no repr, log or error shows what is in it.
"""

import stat
from pathlib import Path

from pydantic import SecretStr

from gateway.config.errors import ConfigError

SECRET_LIMIT_BYTES = 64 << 10


def read_secret(file: Path, key: str) -> SecretStr:
    """What ``file`` holds, without one newline at its end.

    Raises `ConfigError`, which names ``key``, where the file cannot be read, or is empty, too large
    or not UTF-8.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(SECRET_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{key}: {file} cannot be read: {error.strerror}") from None
    if len(content) > SECRET_LIMIT_BYTES:
        raise ConfigError(f"{key}: {file} is larger than {SECRET_LIMIT_BYTES} bytes: no secret is")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {file} is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ConfigError(f"{key}: {file} is empty: write the secret into it")
    return SecretStr(text)


def is_open_to_all(file: Path) -> bool:
    """Whether every user of the machine may read it."""
    try:
        return bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
