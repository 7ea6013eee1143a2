"""The commands at a front door that asks who they are: passwords, tokens, certificates, TLS."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from gateway.access.tokens import digest, new_token
from tests.access_world import written
from tests.certificates import write_authority, write_pair
from tests.commands import Ended, headrace
from tests.gateways import GatewayProcess, gateway_process
from tests.server.ksqldb import json_lines, numbered, unique
from tests.terminal import INTERRUPT, on_a_terminal

PASSWORD, WRONG = "s3cret:of bert", "wr0ng-7"
COLUMNS = "id BIGINT, name STRING, price DOUBLE, at TIMESTAMP"

_RULES = """
[access]
users_file = "{folder}/users"
tokens_file = "{folder}/tokens"

[[access.rules]]
principal = "bert"
rights = ["insert", "query", "define", "admin"]

[[access.rules]]
principal = "edge-7"
rights = ["insert", "query", "define"]

[[access.rules]]
principal = "rita"
rights = ["query"]
"""


class House:
    """A gateway with TLS and access, made as its operator makes one; and what callers have."""

    def __init__(self, folder: Path, client_auth: str) -> None:
        self.folder = folder
        servers, clients = trustme.CA(), trustme.CA()
        issued = servers.issue_cert("localhost", "127.0.0.1")
        certificate, key = write_pair(folder / "server", issued)
        self.authority = write_authority(folder / "ca.pem", servers)
        known = clients.issue_cert("edge-7.example", common_name="edge-7")
        self.certificate, self.key = write_pair(folder / "client", known)
        stranger = trustme.CA().issue_cert("edge-7.example", common_name="edge-7")
        self.forged, self.forged_key = write_pair(folder / "stranger", stranger)
        self.tokens = {name: new_token() for name in ("bert", "rita")}
        self._make_users()
        config = written(folder / "headrace.toml", _RULES.replace("{folder}", str(folder)))
        sides = [("HTTP", "CERT", certificate), ("HTTP", "KEY", key)]
        sides += [("ADMIN", "CERT", certificate), ("ADMIN", "KEY", key)]
        settings: dict[str, object] = {f"{side}__TLS_{of}_FILE": it for side, of, it in sides}
        settings["HTTP__TLS_CLIENT_CA_FILE"] = write_authority(folder / "clients.pem", clients)
        settings["HTTP__TLS_CLIENT_AUTH"] = client_auth
        self.opened = gateway_process(
            folder / "data", arguments=("--config", str(config)), settings=settings
        )
        self.gateway: GatewayProcess

    def _make_users(self) -> None:
        made = headrace("access", "hash-password", "bert", stdin=f"{PASSWORD}\n".encode())
        written(self.folder / "users", made.stdout.strip())
        lines = [f"{name}:{digest(token)}" for name, token in self.tokens.items()]
        written(self.folder / "tokens", *lines)
        for file in ("users", "tokens"):
            (self.folder / file).chmod(0o600)

    @property
    def url(self) -> str:
        return self.gateway.url.replace("http:", "https:")

    @property
    def front(self) -> tuple[object, ...]:
        return ("--url", self.url, "--ca-file", self.authority)

    @property
    def shown(self) -> tuple[object, ...]:
        """The client certificate."""
        return ("--cert-file", self.certificate, "--key-file", self.key)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"), "optional")
    with made.opened as made.gateway:
        yield made
        assert made.gateway.stop() == 0
        assert made.gateway.complaints == []
        for secret in (PASSWORD, WRONG, *made.tokens.values()):
            assert secret not in made.gateway.said


@pytest.fixture(scope="module")
def stream(house: House) -> str:
    name = unique("S")
    text = f"CREATE STREAM {name} ({COLUMNS}) WITH (kafka_topic='{name.lower()}', timestamp='at');"
    settings = {"HEADRACE_TOKEN": house.tokens["bert"]}
    done = headrace("sql", *house.front, settings=settings, stdin=text.encode())
    assert (done.status, done.stderr) == (0, "")
    return name


WAYS = ["password", "password file", "token", "token file", "certificate"]


@pytest.mark.parametrize("way", WAYS)
def test_who_shows_what_the_gateway_knows_inserts_and_queries_over_tls(
    house: House, stream: str, tmp_path: Path, way: str
) -> None:
    options: tuple[object, ...] = house.front
    settings: dict[str, str] = {}
    if way == "certificate":
        options += house.shown
    else:
        name = "HEADRACE_PASSWORD" if "password" in way else "HEADRACE_TOKEN"
        secret = PASSWORD if "password" in way else house.tokens["bert"]
        options += ("--user", "bert") if "password" in way else ()
        settings = {name: secret}
        if "file" in way:
            settings = {f"{name}_FILE": str(written(tmp_path / "secret", secret))}
    number = WAYS.index(way)
    rows = json_lines(numbered(number, number + 1))
    channel = ("--channel", way.replace(" ", "-"))
    done = headrace("insert", stream, *channel, *options, settings=settings, stdin=rows)
    assert (done.status, done.stderr, done.fields[1]) == (0, "", ["acked", "1"])
    sql = f"SELECT name FROM {stream} WHERE id = {number};"
    done = headrace("query", sql, *options, settings=settings)
    assert (done.status, done.stdout, done.stderr) == (0, f"row {number}\n", "")


def test_the_admin_port_takes_the_same_credentials(house: House) -> None:
    settings = {"HEADRACE_PASSWORD": PASSWORD}
    options = ("--admin", house.gateway.admin_url, "--ca-file", house.authority, "--user", "bert")
    done = headrace("batches", "list", *options, settings=settings)
    assert (done.status, done.stderr) == (0, "")


COMMANDS: list[tuple[object, ...]] = [
    ("insert", "ANY"),
    ("insert", "ANY", "--channel", "c"),
    ("query", "SELECT 1;"),
    ("sql",),
    ("streams",),
    ("tasks",),
]


def assert_told(done: Ended, *parts: str) -> None:
    """It failed in one sentence, and no secret is in it."""
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith("headrace: ")
    assert done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in parts), done.stderr
    assert PASSWORD not in done.stderr
    assert WRONG not in done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(map(str, command[::2])))
def test_a_wrong_password_is_told_by_every_command_and_shown_by_none(
    house: House, command: tuple[object, ...]
) -> None:
    settings = {"HEADRACE_PASSWORD": WRONG}
    done = headrace(
        *command, *house.front, "--user", "bert", settings=settings, stdin=b"LIST STREAMS;\n"
    )
    assert_told(done, house.url, "Unauthorized", "user bert", "HEADRACE_PASSWORD")


def test_a_wrong_token_and_none_at_all_are_told_with_what_to_do(house: House) -> None:
    done = headrace("streams", *house.front, settings={"HEADRACE_TOKEN": WRONG})
    assert_told(done, "Unauthorized", "HEADRACE_TOKEN")
    done = headrace("streams", *house.front)
    assert_told(done, "Unauthorized", "--user", "HEADRACE_TOKEN")


def test_credentials_in_a_url_are_used_and_never_shown(house: House, stream: str) -> None:
    def at(password: str) -> str:
        return house.url.replace("://", f"://bert:{quote(password, safe='')}@")

    trusting = ("--ca-file", house.authority)
    done = headrace("streams", stream, *trusting, settings={"HEADRACE_URL": at(PASSWORD)})
    assert (done.status, done.stderr) == (0, "")
    done = headrace("streams", *trusting, settings={"HEADRACE_URL": at(WRONG)})
    assert_told(done, house.url, "Unauthorized")
    done = headrace("streams", settings={"HEADRACE_URL": at(PASSWORD)})
    assert (done.status, house.url in done.stderr, "s3cret" in done.stderr) == (69, True, False)
    admin = {"HEADRACE_ADMIN": f"https://bert:{WRONG}@127.0.0.1:1"}
    done = headrace("batches", "list", settings=admin)
    assert (done.status, "--user" in done.stderr, WRONG in done.stderr) == (2, True, False)


def test_what_the_rules_do_not_grant_is_refused_by_name(house: House, stream: str) -> None:
    settings = {"HEADRACE_TOKEN": house.tokens["rita"]}
    done = headrace("query", f"SELECT COUNT(*) FROM {stream};", *house.front, settings=settings)
    assert (done.status, done.stderr) == (0, "")
    rows = json_lines(numbered(100, 101))
    for channel in ((), ("--channel", "rita")):
        done = headrace("insert", stream, *channel, *house.front, settings=settings, stdin=rows)
        assert_told(done, "rita", "insert", stream)


def test_a_certificate_of_another_authority_gets_nobody_in(house: House, stream: str) -> None:
    forged = ("--cert-file", house.forged, "--key-file", house.forged_key)
    done = headrace("streams", *house.front, *forged)
    assert (done.status, done.stdout) == (69, "")
    assert house.url in done.stderr
    assert "Traceback" not in done.stderr
    done = headrace("streams", *house.front, *house.shown)
    assert stream in [fields[0] for fields in done.fields]


def test_a_gateway_whose_certificate_is_not_trusted_is_not_spoken_to(house: House) -> None:
    settings = {"HEADRACE_PASSWORD": PASSWORD}
    done = headrace("streams", "--url", house.url, "--user", "bert", settings=settings)
    assert (done.status, done.stdout) == (69, "")
    assert "--ca-file" in done.stderr
    assert PASSWORD not in done.stderr


def test_a_port_that_speaks_tls_is_told_from_no_gateway(house: House) -> None:
    plain = house.url.replace("https:", "http:")
    done = headrace("streams", "--url", plain)
    assert (done.status, done.stdout) == (69, "")
    assert "https" in done.stderr


def test_where_a_certificate_is_demanded_none_and_the_right_one_make_the_difference(
    tmp_path: Path,
) -> None:
    strict = House(tmp_path, "required")
    with strict.opened as strict.gateway:
        done = headrace("streams", *strict.front, *strict.shown)
        assert (done.status, done.stdout, done.stderr) == (0, "", "")
        done = headrace("streams", *strict.front, settings={"HEADRACE_TOKEN": "any"})
        assert (done.status, done.stdout) == (69, "")
        assert "--cert-file" in done.stderr


# ── asked at a terminal ──────────────────────────────────────────────────────────────────────


def test_a_password_is_asked_for_once_and_never_echoed(house: House, stream: str) -> None:
    with on_a_terminal("streams", *house.front, "--user", "bert") as terminal:
        terminal.expect("password of bert: $")
        terminal.type(PASSWORD.encode() + b"\r")
        terminal.expect(rf"{stream} +STREAM")
        assert terminal.wait() == 0
        assert PASSWORD not in terminal.shown
        assert terminal.shown.count("password of bert") == 1


def test_a_wrong_password_at_the_prompt_is_told_and_not_shown(house: House) -> None:
    with on_a_terminal("sql", *house.front, "--user", "bert") as terminal:
        terminal.expect("password of bert: $")
        terminal.type(WRONG.encode() + b"\r")
        terminal.expect("Unauthorized")
        assert terminal.wait() == 1
        assert WRONG not in terminal.shown
        assert "headrace>" not in terminal.shown


def test_interrupt_at_the_password_leaves_quietly(house: House) -> None:
    with on_a_terminal("streams", *house.front, "--user", "bert") as terminal:
        terminal.expect("password of bert: $")
        terminal.type(INTERRUPT)
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.shown
