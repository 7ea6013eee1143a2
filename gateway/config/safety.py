"""Where keys about TLS, certificates and credentials contradict one another, or lack one another.

Pure. A sentence names the keys and the remedy, and never a value that may be secret.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from gateway.config.sections import Config

_WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - looked for, not listened on


def unsafe(config: "Config") -> Iterator[str]:
    """What stops the start, a sentence each."""
    yield from _pairs(config)
    yield from _client_certificates(config)
    yield from _druid_credentials(config)
    yield from _fetches(config)


def without_userinfo(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section ``druid`` with what its URL says of a user and a password in keys of their own.

    So no URL that is logged or shown has a password in it. Raises ValueError if there is a user
    already.
    """
    url = values.get("url")
    if not isinstance(url, str) or "@" not in url:
        return values
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at:
        return values
    taken = [key for key in ("username", "password", "password_file") if values.get(key)]
    if taken:
        raise ValueError(f"druid.url names a user, and so does druid.{taken[0]}: leave one out")
    user, _, password = userinfo.partition(":")
    apart = {"url": urlunsplit(parts._replace(netloc=host)), "username": unquote(user)}
    return {**values, **apart, "password": unquote(password)}


def _pairs(config: "Config") -> Iterator[str]:
    for name in ("http", "admin", "druid"):
        section = getattr(config, name)
        if (section.tls_cert_file is None) != (section.tls_key_file is None):
            yield f"{name}.tls_cert_file and {name}.tls_key_file go together: set both"


def _client_certificates(config: "Config") -> Iterator[str]:
    http = config.http
    if http.tls_client_auth == "off":
        if http.tls_client_ca_file is not None:
            yield (
                "http.tls_client_ca_file does nothing while http.tls_client_auth is off: set that "
                "to optional or required, or leave the file out"
            )
        return
    if http.tls_client_ca_file is None:
        yield (
            f"http.tls_client_auth is {http.tls_client_auth}: set http.tls_client_ca_file to the "
            "authorities whose certificates are taken"
        )
    if http.tls_cert_file is None:
        yield (
            f"http.tls_client_auth is {http.tls_client_auth}: set http.tls_cert_file and "
            "http.tls_key_file, for only TLS asks for certificates"
        )


def _druid_credentials(config: "Config") -> Iterator[str]:
    druid = config.druid
    has_password = druid.password is not None or druid.password_file is not None
    has_token = druid.token is not None or druid.token_file is not None
    if druid.username is not None and has_token:
        yield "druid.username and druid.token are two ways to say who asks: leave one out"
    if (druid.username is not None) != has_password:
        yield "druid.username and druid.password (or druid.password_file) go together: set both"
    for secret in ("password", "token"):
        if getattr(druid, secret) is not None and getattr(druid, f"{secret}_file") is not None:
            yield f"druid.{secret} and druid.{secret}_file are both set: leave one out"
    scheme = urlsplit(druid.url).scheme
    if scheme not in ("http", "https"):
        yield "druid.url must begin with http:// or https://"
    if scheme == "http" and (druid.tls_ca_file or druid.tls_cert_file):
        yield "druid.tls_* do nothing for a druid.url that begins with http://: make it https://"


def _fetches(config: "Config") -> Iterator[str]:
    druid = config.druid
    if config.warehouse != "druid":
        return
    if druid.fetch_host is None and config.http.tls_client_auth == "required":
        yield (
            "http.tls_client_auth is required, and Druid's workers have no certificate to fetch "
            "batches with: set druid.fetch_host (and druid.fetch_port) to a listener of their own"
        )
    if druid.fetch_host in _WILDCARDS and druid.fetch_url is None:
        yield (
            "druid.fetch_host stands for every address: set druid.fetch_url to the one that "
            "Druid's workers reach it at"
        )
    if druid.fetch_tls and (druid.fetch_host is None or config.http.tls_cert_file is None):
        yield (
            "druid.fetch_tls needs druid.fetch_host, and the certificate of the front door: set "
            "http.tls_cert_file and http.tls_key_file"
        )
