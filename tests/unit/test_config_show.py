"""`headrace config`: what holds and where it comes from, never a secret; and the reference page."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.config import Config, ConfigError
from gateway.config.keys import Key, all_keys
from gateway.config.loading import Sources
from gateway.config.redaction import without_credentials
from gateway.config.reference import reference
from gateway.config.reloads import RELOADABLE, is_reloadable
from gateway.config.showing import as_json, as_toml, sample
from tests.commands import headrace

REFERENCE = Path(__file__).parents[2] / "deploy" / "configuration.md"
SECRET = "s3cr3t-XyZZy-0451"

FILE = """
[http]
host = "::1" # the loopback too
stream_window_bytes = "256 KiB"
cors_origins = ["https://a.example"]

[[access.rules]]
principal = "*"
rights = ["insert", "query"]
names = ["clicks*"]

[access.jwt]
jwks_url = "https://id.example/keys"
audience = "headrace"

[druid]
username = "loader"
"""


def sources(folder: Path, text: str = FILE) -> Sources:
    file = folder / "headrace.toml"
    file.write_text(text)
    environment = {
        "HEADRACE__DRUID__PASSWORD": SECRET,
        "HEADRACE__TRACES__OTLP_URL": f"https://u:{SECRET}@otlp.example/v1?key={SECRET}",
    }
    return Sources(file, {"http": {"port": 0}}, environment)


def test_what_is_shown_can_be_loaded_again_and_is_the_same(tmp_path: Path) -> None:
    first = sources(tmp_path)
    shown = as_toml(first.read())
    again = Sources(tmp_path / "again.toml", {}, first.environment)
    assert again.file is not None
    again.file.write_text(shown)
    assert again.read().config == first.read().config


def test_each_value_is_shown_with_its_source(tmp_path: Path) -> None:
    lines = as_toml(sources(tmp_path).read()).splitlines()
    said = {line.split(" = ")[0]: line.rsplit("# ", 1)[1] for line in lines if " = " in line}
    file = tmp_path / "headrace.toml"
    assert said["host"] == "default", "the admin port's is the last of this name"
    assert said["port"] == "default"
    assert said["stream_window_bytes"] == f"{file}:4:1"
    assert said["rules"] == f"{file}:7:1"
    assert said["jwks_url"] == f"{file}:13:1"
    assert said["otlp_url"] == "HEADRACE__TRACES__OTLP_URL"
    document = as_json(sources(tmp_path).read())
    assert document["http.port"] == {"value": 0, "source": "--port"}
    assert document["http.stream_window_bytes"]["value"] == 256 << 10
    assert document["ingest.ack"] == {"value": "committed", "source": "default"}
    assert document["druid.password"] == {
        "value": "**********",
        "source": "HEADRACE__DRUID__PASSWORD",
    }


def test_nothing_secret_is_shown(tmp_path: Path) -> None:
    loaded = sources(tmp_path).read()
    assert "otlp.example/v1" in as_toml(loaded)
    assert SECRET not in as_toml(loaded)
    assert SECRET not in json.dumps(as_json(loaded))
    assert SECRET not in repr(sources(tmp_path)) + repr(loaded.layers) + repr(loaded.config.druid)


def test_a_password_in_druids_url_is_taken_out_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text(f'[druid]\nurl = "https://u:{SECRET}@druid.example:8888"\n')
    loaded = Sources(file, {}, {}).read()
    password = loaded.config.druid.secret_password()
    assert password is not None
    assert password.get_secret_value() == SECRET
    document = as_json(loaded)
    assert document["druid.url"]["value"] == "https://druid.example:8888"
    assert document["druid.password"]["source"] == f"{file}:2:1"
    assert SECRET not in as_toml(loaded) + json.dumps(document)


URLS = st.builds(
    lambda user, password, host, query: (
        f"https://{user}:{password}@{host}/p?{query}={password}#{password}"
    ),
    *([st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1)] * 4),
)


@given(URLS)
def test_no_url_is_shown_with_what_may_be_secret_in_it(url: str) -> None:
    password = url.split("@")[0].split(":")[2]
    shown = without_credentials(url)
    assert shown.startswith("https://***@")
    assert shown.endswith("/p?***#***")
    assert url.split("@")[1].split("/")[0] in shown
    assert f":{password}@" not in shown


def test_the_sample_is_a_file_of_the_defaults_with_every_key() -> None:
    lines = [line.removeprefix("#") for line in sample().splitlines() if not line.startswith("# ")]
    # What has no default is there by its name alone; arrays of tables are examples.
    given_ = "\n".join(line for line in lines if not line.endswith("="))
    document = tomllib.loads(given_)
    del document["access"]["rules"], document["access"]["limits"], document["access"]["jwt"]
    assert Config.model_validate(document) == Config()
    for key in all_keys().values():
        assert any(line.startswith(f"{key.path[-1]} =") for line in lines)


def test_a_sample_with_all_taken_away_loads_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "sample.toml"
    file.write_text(sample())
    assert Sources(file, {}, {}).read().config == Config()


# ── the reference ────────────────────────────────────────────────────────────────────────────


def test_the_reference_is_up_to_date() -> None:
    assert REFERENCE.read_text() == reference(), "run `make reference`"


@pytest.mark.parametrize("key", all_keys().values(), ids=lambda key: key.name)
def test_every_key_is_documented_and_has_its_unit_in_its_name(key: Key) -> None:
    assert key.doc, "write what it is below it"
    assert key.section_doc
    name = key.path[-1]
    if key.type is float:
        assert name.endswith(("_s", "_ratio"))
    is_secret = "password" in name or "token" in name
    if is_secret and not name.endswith("_file"):
        assert key.type is SecretStr


def test_every_pattern_of_reloadable_keys_fits_a_key() -> None:
    names = [".".join(key.path) for key in all_keys().values()]
    for pattern in RELOADABLE:
        assert any(is_reloadable(name) for name in names if name.startswith(pattern.rstrip("*")))
    assert not is_reloadable("http.port")


# ── the commands ─────────────────────────────────────────────────────────────────────────────


def run(folder: Path, text: str, *arguments: object, **settings: str) -> Any:
    file = folder / "h.toml"
    file.write_text(text)
    return headrace("config", *arguments, file, settings=settings)


def test_check_says_that_a_good_configuration_can_be_used(tmp_path: Path) -> None:
    done = run(tmp_path, "[http]\nport = 1\n", "check")
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.startswith("the configuration can be used; its limits allow ")


def test_check_ends_with_78_and_every_place(tmp_path: Path) -> None:
    done = run(tmp_path, "[http]\nprot = 1\nport = -1\n", "check", HEADRACE__FOO="1")
    assert (done.status, done.stdout) == (78, "")
    for place in ("h.toml:2:1: http.prot", "h.toml:3:1: http.port", "HEADRACE__FOO"):
        assert place in done.stderr
    assert len(done.stderr.splitlines()) == 4
    report = json.loads(run(tmp_path, "[http]\nprot = 1\n", "check", "--json").stdout)
    assert report["usable"] is False
    assert report["problems"] == [
        {
            "place": f"{tmp_path / 'h.toml'}:2:1",
            "key": "http.prot",
            "what": "there is no such key",
            "remedy": "Did you mean http.port?",
        }
    ]


def test_check_warns_of_an_open_door(tmp_path: Path) -> None:
    done = run(tmp_path, '[http]\nhost = "0.0.0.0"\n', "check")
    assert done.status == 0
    assert len([line for line in done.stderr.splitlines() if line.startswith("warning: ")]) == 2
    report = json.loads(run(tmp_path, '[http]\nhost = "0.0.0.0"\n', "check", "--json").stdout)
    assert report["usable"] is True
    assert len(report["warnings"]) == 2
    assert sum(report["memory"]["parts_bytes"].values()) == report["memory"]["fixed_bytes"]


def test_check_reads_the_files_that_keys_name(tmp_path: Path) -> None:
    done = run(tmp_path, '[druid]\ntoken_file = "/none"\n', "check")
    assert done.status == 78
    assert "h.toml:2:1: druid.token_file: /none cannot be read: No such file" in done.stderr


def test_show_prints_toml_json_a_sample_or_the_memory(tmp_path: Path) -> None:
    text = "[http]\nport = 7\n"
    secret = {"HEADRACE__DRUID__TOKEN": SECRET}
    done = run(tmp_path, text, "show", **secret)
    assert (done.status, done.stderr) == (0, "")
    assert tomllib.loads(done.stdout)["http"]["port"] == 7
    assert SECRET not in done.stdout
    as_document = json.loads(run(tmp_path, text, "show", "--json", **secret).stdout)
    assert as_document["druid.token"]["source"] == "HEADRACE__DRUID__TOKEN"
    assert headrace("config", "show", "--defaults").stdout == sample()
    assert (
        "query.push_queries_max x query.mailbox_bytes"
        in headrace("config", "show", "--memory").stdout
    )
    assert run(tmp_path, "port = \n", "show").status == 78
    assert headrace("config", "show", "--defaults", "--json").status == 2


def test_the_file_may_be_named_as_serve_has_it_but_once(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text("[http]\nport = 7\n")
    assert headrace("config", "check", "--config", file).status == 0
    assert headrace("config", "check", file, "--config", file).status == 2
    missing = headrace("config", "check", tmp_path / "none.toml")
    assert (missing.status, "none.toml: does not exist" in missing.stderr) == (78, True)


def test_check_tells_of_every_file_whose_content_a_start_would_end_at(tmp_path: Path) -> None:
    for name in ("users", "tokens", "cert", "key"):
        (tmp_path / name).write_text("ops:none of what it should be\n")
    text = (
        f'[http]\ntls_cert_file = "{tmp_path}/cert"\ntls_key_file = "{tmp_path}/key"\n'
        f'[access]\nusers_file = "{tmp_path}/users"\ntokens_file = "{tmp_path}/tokens"\n'
        '[[access.rules]]\nprincipal = "*"\nrights = ["query"]\n'
    )
    done = run(tmp_path, text, "check")
    assert (done.status, done.stdout) == (78, "")
    for line, said in (
        (5, f"access.users_file: {tmp_path}/users:1: not an argon2id hash"),
        (6, f"access.tokens_file: {tmp_path}/tokens:1: not the SHA-256 of a token"),
        (2, f"http.tls_cert_file: {tmp_path}/cert is no PEM certificate"),
    ):
        assert f":{line}:1: {said}" in done.stderr
    assert "none of what" not in done.stderr


def test_a_key_with_letters_that_steer_a_terminal_is_escaped(tmp_path: Path) -> None:
    done = run(tmp_path, '"\\u001b[31m" = 1\n', "check")
    assert done.status == 78
    assert "\x1b" not in done.stderr


def test_sources_are_read_anew_each_time(tmp_path: Path) -> None:
    both = sources(tmp_path, "")
    with pytest.raises(ConfigError, match="go together"):
        both.read()
    assert both.file is not None
    both.file.write_text(FILE)
    assert both.read().config.druid.username == "loader"
