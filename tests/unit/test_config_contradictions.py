"""Keys that contradict one another stop the start; what is hardly meant is a warning."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config, ConfigError
from gateway.config.cautions import cautions
from gateway.config.contradictions import contradictions
from gateway.config.explaining import named_keys
from gateway.config.files import require_files
from gateway.config.keys import all_keys, model_at
from gateway.config.loading import Loaded, Sources
from gateway.config.memory import most_memory, there_is

JWT = {"jwks_url": "https://id.example/keys", "audience": "headrace"}
RULE = {"principal": "*", "rights": ["query"]}
FOR_ALL = {"principal": "anonymous", "rights": ["query"]}


def read(values: dict[str, Any], **environment: str) -> Loaded:
    return Sources(None, values, environment).read()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"http": {"stream_window_bytes": 20 << 20}}, "http.connection_window_bytes"),
        ({"ingest": {"batch_bytes_max": 1000}}, "a row must fit into a batch"),
        ({"ingest": {"spool_limit_bytes": 1000}}, "a batch must fit into the spool"),
        ({"ingest": {"retry_s": 60}}, "ingest.retry_max_s"),
        ({"query": {"mailbox_bytes": 1 << 30}}, "query.evaluated_bytes"),
        ({"http": {"port": 9}, "admin": {"port": 9}}, "admin.port and http.port are both 9"),
        ({"http": {"port": 9}, "admin": {"port": 9, "host": "0.0.0.0"}}, "are both 9"),
        (
            {"warehouse": "druid", "druid": {"fetch_host": "127.0.0.1", "fetch_port": 8089}},
            "druid.fetch_port and admin.port",
        ),
        ({"http": {"host": ""}}, "http.host is empty"),
        ({"http": {"tls_cert_file": "c.pem"}}, "http.tls_key_file go together"),
        ({"admin": {"tls_key_file": "k.pem"}}, "admin.tls_key_file go together"),
        ({"http": {"tls_client_auth": "required"}}, "http.tls_client_ca_file"),
        ({"http": {"tls_client_ca_file": "ca.pem"}}, "http.tls_client_auth is off"),
        *(
            ({"http": {"cors_origins": [origin]}}, "http.cors_origins must")
            for origin in (
                "https://a.example/x",
                "https://a.example/",
                "https://a.example?x",
                "https://u@a.example",
                "https://*.example",
                "https://A.example",
                "HTTPS://a.example",
                "https://a.example:443",
                "http://a.example:80",
                "https://a.example:",
                "a.example",
                "null",
                "*",
                "",
            )
        ),
        ({"druid": {"fetch_url": "druid:80"}}, "druid.fetch_url must begin"),
        ({"druid": {"fetch_url": "http://u:p@h"}}, "must hold no user and password"),
        ({"traces": {"otlp_url": "grpc://x"}}, "traces.otlp_url"),
        ({"druid": {"password": "p"}}, "druid.username and druid.password"),
        ({"druid": {"username": "u"}}, "druid.username and druid.password"),
        ({"druid": {"username": "u", "password": "p", "token": "t"}}, "leave one out"),
        ({"druid": {"token": "t", "token_file": "t"}}, "druid.token_file are both set"),
        ({"access": {"jwt": {}, "rules": [RULE]}}, "access.jwt.jwks_file: neither"),
        ({"access": {"jwt": {**JWT, "jwks_file": "k"}, "rules": [RULE]}}, "both are set"),
        ({"access": {"jwt": JWT}}, "access.rules is empty"),
        (
            {"access": {"rules": [RULE, {"principal": "anon*", "rights": ["query"]}]}},
            "nobody can show who they are",
        ),
        ({"access": {"rules": [{"principal": "anonymous", "rights": []}]}}, "grants nothing"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used") as refused:
        read(values)
    assert named in str(refused.value)
    assert all(problem.place for problem in refused.value.problems), "it says where"


@pytest.mark.parametrize(
    "values",
    [
        {"http": {"port": 0}, "admin": {"port": 0}},
        {"http": {"port": 9, "host": "127.0.0.2"}, "admin": {"port": 9}},
        {"http": {"port": 8089}, "admin": {"port": "off"}},
        {"druid": {"fetch_host": "127.0.0.1", "fetch_port": 8089}},
        {"access": {"jwt": JWT, "rules": [RULE]}},
        {"access": {"rules": [FOR_ALL, RULE]}},
        {"access": {"limits": [{"rows_per_s": 10}]}},
        {"http": {"cors_origins": ["https://a.example", "http://[::1]:3000"]}},
    ],
)
def test_what_goes_together_is_taken(values: dict[str, Any]) -> None:
    assert read(values).config


def test_a_contradiction_is_placed_where_its_keys_were_set(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text("[ingest]\n\nbatch_bytes_max = 2000\n")
    environment = {"HEADRACE__HTTP__ROW_LIMIT_BYTES": "3000"}
    with pytest.raises(ConfigError) as refused:
        Sources(file, {}, environment).read()
    (problem,) = refused.value.problems
    assert problem.place == f"HEADRACE__HTTP__ROW_LIMIT_BYTES, {file}:3:1"


def test_the_defaults_contradict_nothing_and_need_no_warning() -> None:
    assert contradictions(Config()) == ()
    assert cautions(read({})) == []


@given(st.data())
def test_every_key_that_a_sentence_names_exists(data: st.DataObject) -> None:
    numbers = [key for key in all_keys().values() if key.type in (int, float)]
    names = [key.variable for key in numbers if key.variable]
    chosen = data.draw(st.lists(st.sampled_from(names), max_size=6, unique=True))
    for sentence in sentences({name: str(data.draw(st.integers(1, 60_000))) for name in chosen}):
        named = named_keys(sentence)
        assert named
        for path in named:
            parts = [part for part in path if isinstance(part, str)]
            around = model_at(tuple(parts[:-1]))
            assert around is not None
            assert parts[-1] in around.model_fields


def test_too_much_memory_is_told_with_the_keys_that_take_the_most() -> None:
    (sentence,) = sentences({"HEADRACE__QUERY__PUSH_QUERIES_MAX": "100000000"})
    assert "query.push_queries_max" in sentence
    assert named_keys(sentence)


def sentences(environment: dict[str, str]) -> list[str]:
    """Of keys that contradict one another, or are hardly meant."""
    try:
        loaded = Sources(None, {}, environment).read()
    except ConfigError as error:
        return [problem.what for problem in error.problems if not problem.key]
    return [caution.what for caution in cautions(loaded) if not caution.key]


# ── warnings ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"http": {"host": "0.0.0.0"}}, ["nobody is asked", "without TLS"]),
        ({"http": {"host": "10.1.2.3"}, "access": {"rules": [FOR_ALL]}}, ["without TLS"]),
        (
            {"http": {"host": "::"}, "access": {"limits": [{"rows_per_s": 1}]}},
            ["nobody is asked", "without TLS"],
        ),
        ({"admin": {"host": "::"}}, ["see, change and drop rows", "without TLS"]),
        ({"ingest": {"retention_bytes": "8 GiB"}}, ["leave no room"]),
        ({"embedded": {"memory_limit_bytes": "1000 TiB"}}, ["embedded.memory_limit_bytes"]),
        ({"access": {"jwt": {"jwks_url": "http://id/"}, "rules": [RULE]}}, ["http://", "audience"]),
        (
            {
                "warehouse": "druid",
                "druid": {"url": "http://druid", "username": "u", "password": "p"},
            },
            ["travel in the clear"],
        ),
    ],
)
def test_what_is_hardly_meant_is_warned_of(values: dict[str, Any], named: list[str]) -> None:
    said = [str(caution) for caution in cautions(read(values))]
    assert len(said) == len(named)
    assert all(words in sentence for words, sentence in zip(named, said, strict=True))


def test_keys_of_the_warehouse_that_is_not_in_use_are_warned_of() -> None:
    idle = read({}, HEADRACE__DRUID__URL="http://127.0.0.1:1")
    assert [caution.place for caution in cautions(idle)] == ["HEADRACE__DRUID__URL"]
    used = read({"warehouse": "druid"}, HEADRACE__DRUID__URL="http://127.0.0.1:1")
    assert cautions(used) == []


def test_a_variable_that_is_nearly_ours_is_warned_of() -> None:
    (caution,) = cautions(read({}), ("HEADRACE_HTTP__PORT", "HEADRACE_ADMIN", "HEADRACE__X"))
    assert str(caution) == "HEADRACE_HTTP__PORT: is not read. Keys begin with HEADRACE__"


# ── files, and secrets in them ───────────────────────────────────────────────────────────────


def test_a_secret_in_a_file_is_read_without_its_newline_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("two words \n\n")
    file.chmod(0o600)
    environment = {
        "HEADRACE__DRUID__USERNAME": "u",
        "HEADRACE__DRUID__PASSWORD_FILE": str(file),
    }
    loaded = Sources(None, {"warehouse": "druid"}, environment).read()
    require_files(loaded)
    secret = loaded.config.druid.secret_password()
    assert secret is not None
    assert secret.get_secret_value() == "two words \n"
    assert "two words" not in repr(loaded)
    assert cautions(loaded) == []
    file.write_text("another\n")
    renewed = loaded.config.druid.secret_password()
    assert renewed is not None
    assert renewed.get_secret_value() == "another"
    file.chmod(0o644)
    (caution,) = cautions(loaded)
    assert (caution.place, caution.key) == (
        "HEADRACE__DRUID__PASSWORD_FILE",
        "druid.password_file",
    )
    assert "every user of this machine may read" in caution.what


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\r\n", "is empty"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * 100_000, "is larger than"),
    ],
)
def test_a_file_without_a_usable_secret_is_named(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    loaded = Sources(None, {}, {"HEADRACE__DRUID__TOKEN_FILE": str(file)}).read()
    with pytest.raises(ConfigError, match=said) as refused:
        require_files(loaded)
    (problem,) = refused.value.problems
    assert problem.place == "HEADRACE__DRUID__TOKEN_FILE"
    assert "druid.token_file" in str(problem)


def test_every_file_that_cannot_be_read_is_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text(
        '[http]\ntls_cert_file = "/none/c"\ntls_key_file = "/none/k"\n'
        '[access]\nusers_file = "/none/u"\naudit_file = "/none/written-by-us"\n'
        '[[access.rules]]\nprincipal = "*"\nrights = ["query"]\n'
    )
    loaded = Sources(file, {}, {}).read()
    with pytest.raises(ConfigError) as refused:
        require_files(loaded)
    assert [problem.place for problem in refused.value.problems] == [
        f"{file}:{line}:1" for line in (2, 3, 5)
    ]


def test_one_newline_of_either_kind_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"abc\r\n")
    loaded = Sources(None, {}, {"HEADRACE__DRUID__TOKEN_FILE": str(file)}).read()
    token = loaded.config.druid.secret_token()
    assert token is not None
    assert token.get_secret_value() == "abc"


# ── memory ───────────────────────────────────────────────────────────────────────────────────


def test_the_memory_is_the_sum_of_its_parts_and_follows_the_limits() -> None:
    small, large = (
        most_memory(Config()),
        most_memory(read({"query": {"mailbox_bytes": 2 << 20}}).config),
    )
    assert small.fixed_bytes == sum(small.parts.values())
    assert large.fixed_bytes - small.fixed_bytes == 100 << 20
    assert small.connections(small.fixed_bytes + 2 * small.connection_bytes) == 2
    assert small.connections(0) == 0
    assert 0 < there_is() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
