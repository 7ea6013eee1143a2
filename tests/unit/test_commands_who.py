"""Credentials of the commands: where they come from, and that they reach the admin port."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tests.commands import headrace


class Guarded(BaseHTTPRequestHandler):
    """An admin port that knows one user and one token."""

    known: ClassVar = {
        "Basic " + base64.b64encode("opérateur:geheim".encode()).decode(),
        "Bearer token-7",
    }

    def do_GET(self) -> None:
        shown = self.headers.get("authorization")
        status, body = 200, b"[]"
        if shown == "Bearer weak":
            status, body = 403, b'{"error_code":40300,"message":"weak lacks the right admin"}'
        elif shown not in self.known:
            status, body = 401, b'{"error_code":40100,"message":"Unauthorized"}'
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is said."""


@pytest.fixture
def admin() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("how", ["password", "password file", "token", "token file"])
def test_credentials_come_from_the_environment_or_a_file(
    admin: str, tmp_path: Path, how: str
) -> None:
    secret = "geheim" if "password" in how else "token-7"
    name = "HEADRACE_PASSWORD" if "password" in how else "HEADRACE_TOKEN"
    (tmp_path / "secret").write_text(secret + "\n")
    settings = {name: secret}
    if "file" in how:
        settings = {f"{name}_FILE": str(tmp_path / "secret")}
    user = ("--user", "opérateur") if "password" in how else ()
    done = headrace("batches", "list", "--admin", admin, *user, settings=settings)
    assert (done.status, done.stdout, done.stderr) == (0, "", "")


def test_an_admin_port_that_asks_who_it_is_gets_a_clear_word(admin: str) -> None:
    done = headrace("batches", "list", "--admin", admin)
    assert (done.status, done.stdout) == (1, "")
    assert "asks who you are (Unauthorized)" in done.stderr
    assert "--user" in done.stderr
    wrong = {"HEADRACE_PASSWORD": "falsch-7"}
    done = headrace("batches", "list", "--admin", admin, "--user", "x", settings=wrong)
    assert (done.status, "falsch-7" in done.stderr) == (1, False)
    done = headrace("batches", "list", "--admin", admin, settings={"HEADRACE_TOKEN": "weak"})
    assert (done.status, done.stderr) == (1, "headrace: weak lacks the right admin\n")


def test_a_password_that_is_nowhere_or_in_two_places_is_wrong_usage(
    admin: str, tmp_path: Path
) -> None:
    command = ("batches", "list", "--admin", admin, "--user", "x")
    done = headrace(*command)
    assert (done.status, "HEADRACE_PASSWORD_FILE" in done.stderr) == (2, True)
    both = {"HEADRACE_PASSWORD": "a", "HEADRACE_PASSWORD_FILE": str(tmp_path / "b")}
    assert headrace(*command, settings=both).status == 2
    missing = {"HEADRACE_PASSWORD_FILE": str(tmp_path / "b")}
    done = headrace(*command, settings=missing)
    assert (done.status, "cannot be read" in done.stderr) == (2, True)


def test_files_that_are_no_certificates_are_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nonsense")
    for command in (("batches", "list", "--admin"), ("streams", "--url")):
        done = headrace(*command, "https://127.0.0.1:1", "--ca-file", file)
        assert (done.status, str(file) in done.stderr) == (2, True)
        done = headrace(*command, "https://127.0.0.1:1", "--key-file", file)
        assert (done.status, "--cert-file" in done.stderr) == (2, True)
