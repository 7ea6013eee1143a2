"""What is wrong with a configuration is told with its place, key and remedy; all at once."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import ConfigError
from gateway.config.keys import all_keys
from gateway.config.loading import Loaded, Sources


def loaded(
    folder: Path, text: str, flags: dict[str, Any] | None = None, **environment: str
) -> Loaded:
    file = folder / "h.toml"
    file.write_text(text)
    named = {f"HEADRACE__{name}": value for name, value in environment.items()}
    return Sources(file, flags or {}, named).read()


def refusals(folder: Path, text: str, **given: Any) -> list[str]:
    """What is said, a line each, with the file's folder left out."""
    with pytest.raises(ConfigError) as refused:
        loaded(folder, text, **given)
    assert refused.value.problems
    assert all(str(problem) in str(refused.value) for problem in refused.value.problems)
    return [str(problem).replace(f"{folder}/", "") for problem in refused.value.problems]


def said_of(environment: dict[str, str]) -> str:
    """What is wrong with it; empty if nothing is."""
    try:
        Sources(None, {}, environment).read()
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n[http]\nprot = 1\n", "h.toml:3:1: http.prot: there is no such key. .* http.port\\?"),
        ("[htpt]\nport = 1\n", "h.toml:1:1: htpt: there is no such key. Did you mean http\\?"),
        ("[http]\nstall_s = 1\n", "h.toml:2:1: http.stall_s: .* Did you mean ingest.stall_s\\?"),
        ("[http]\nzzzz = 1\n", "h.toml:2:1: http.zzzz: .* The keys there are host, port, "),
        ("[http]\nport = 70000\n", "h.toml:2:1: http.port: 70000 is not allowed. .*0 to 65535"),
        ("[http]\nport = true\n", "h.toml:2:1: http.port: is a number, not true or false"),
        ("http.lanes = 2.5\n", "h.toml:1:1: http.lanes: 2.5 is not allowed. Give true or false"),
        ("http = { port = 'x' }\n", "h.toml:1:10: http.port: is not allowed here. .*integer"),
        ("http = 1\n", r"h.toml:1:1: http: is a table, not a value. Write .* below \[http\]"),
        ("[ingest]\nstall_s = '3 moons'\n", 'h.toml:2:1: ingest.stall_s: .* "30s"'),
        ("[ingest]\nspool_limit_bytes = '1 XB'\n", 'h.toml:2:1: .*_bytes: .*"64 KiB"'),
        ("[ingest]\nack = 'comitted'\n", 'h.toml:2:1: ingest.ack: .* Did you mean "committed"\\?'),
        ("[[access.limits]]\n\n[[access.limits]]\nrows_per_s=0\n", r"h.toml:4:1: .*limits\[1\]"),
        ("[[access.rules]]\nrights=[]\n", r"h.toml:1:1: access.rules\[0\].principal: is missing"),
        (
            "[[access.rules]]\nprincipal='*'\nrights = [\n 'query',\n 'insrt']\n",
            r"h.toml:5:2: access.rules\[0\].rights\[1\]: .*Did you mean \"insert\"\?",
        ),
        ("[access]\nrules = 3\n", r"h.toml:2:1: access.rules: .* Write \[\[access.rules\]\]"),
        ("[http]\ntls_cert_file = ''\n", "h.toml:2:1: http.tls_cert_file: is empty"),
        ("[http]\nport = \n", "h.toml:2:8: is not TOML: Invalid value. Texts stand in quotes"),
        ("[http]\n\n[http]\n", "h.toml:3:\\d+: is not TOML: Cannot declare"),
        ("[http]\nhost = 'x", "h.toml:\\d+:\\d+: is not TOML"),
    ],
)
def test_a_problem_has_its_line_its_key_and_its_remedy(
    tmp_path: Path, text: str, said: str
) -> None:
    (only,) = refusals(tmp_path, text)
    assert re.match(said, only), only


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HTTP__PROT": "1"}, "HEADRACE__HTTP__PROT: http.prot: .*mean HEADRACE__HTTP__PORT\\?"),
        ({"NOTHING": "1"}, "HEADRACE__NOTHING: nothing: there is no such key. The sections are"),
        ({"NOTHING__AT__ALL": "1"}, "HEADRACE__NOTHING__AT__ALL: "),
        ({"BATCH_AGE_S": "1"}, "HEADRACE__BATCH_AGE_S: .*mean HEADRACE__INGEST__BATCH_AGE_S\\?"),
        ({"HTTP__PORT__X": "1"}, "HEADRACE__HTTP__PORT__X: .*there is no such key"),
        ({"HTTP__PORT": "x"}, "HEADRACE__HTTP__PORT: http.port: .*integer"),
        ({"HTTP__PORT": ""}, "HEADRACE__HTTP__PORT: http.port: is empty. .*unset"),
        ({"ACCESS__RULES": "[{"}, "HEADRACE__ACCESS__RULES: access.rules: is not JSON. Write"),
        ({"ACCESS__RULES": '[{"rights":[]}]'}, r"HEADRACE__ACCESS__RULES: access.rules\[0\]"),
        ({"ACCESS__RULES__0__PRINCIPAL": "x"}, "HEADRACE__ACCESS__RULES__0__PRINCIPAL: "),
        ({"HTTP": '{"prot": 1}'}, "HEADRACE__HTTP: http.prot: there is no such key"),
        ({"HTTP__PORT": "1", "http__port": "2"}, "HEADRACE__http__port: .*twice"),
    ],
)
def test_a_variable_that_is_wrong_or_unknown_is_named(
    tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    (only,) = refusals(tmp_path, "", **variables)
    assert re.match(said, only), only


def test_a_flag_that_is_wrong_is_named(tmp_path: Path) -> None:
    (only,) = refusals(tmp_path, "[http]\nport = 1\n", flags={"http": {"port": 70000}})
    assert only.startswith("--port: http.port: 70000 is not allowed")


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = """
[ingest]
retry_s = 60
batch_bytes_max = "1 XB"
[http]
prot = 1
lanes = "perhaps"
"""
    said = refusals(tmp_path, text, flags={"http": {"port": -1}}, FOO="1", HTTP__ROW="2")
    places = [line.split(": ")[0] for line in said]
    assert places[3:] == ["h.toml:3:1", "h.toml:4:1", "h.toml:6:1", "h.toml:7:1"]
    assert sorted(places[:3]) == ["--port", "HEADRACE__FOO", "HEADRACE__HTTP__ROW"]


def test_a_file_that_is_not_toml_keeps_nothing_else_from_being_told(tmp_path: Path) -> None:
    said = refusals(tmp_path, "[http\n", FOO="1")
    assert [line.split(": ")[0] for line in said] == ["HEADRACE__FOO", "h.toml:1:6"]


def test_bytes_that_are_not_utf_8_have_their_line(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_bytes(b"[http]\nhost = '\xff'\n")
    with pytest.raises(ConfigError, match=r"h\.toml:2: is not UTF-8"):
        Sources(file, {}, {}).read()


def test_a_folder_in_the_place_of_the_file_and_a_nest_of_arrays_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        Sources(tmp_path, {}, {}).read()
    file = tmp_path / "deep.toml"
    file.write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        Sources(file, {}, {}).read()


def test_a_variable_wins_over_the_table_that_another_gives(tmp_path: Path) -> None:
    one = loaded(tmp_path, "[http]\nport = 1\n", HTTP='{"port": 2, "lanes": false}', HTTP__PORT="3")
    assert (one.config.http.port, one.config.http.lanes) == (3, False)
    assert one.place(("http", "port")) == "HEADRACE__HTTP__PORT"
    assert one.place(("http", "lanes")) == "HEADRACE__HTTP"


@pytest.mark.parametrize("text", ["a.example, b.example", '["a.example", "b.example"]'])
def test_an_array_of_texts_is_separated_by_commas_or_json(tmp_path: Path, text: str) -> None:
    assert loaded(tmp_path, "", ADMIN__NAMES=text).config.admin.names == ("a.example", "b.example")


def test_every_key_can_be_given_by_its_variable(tmp_path: Path) -> None:
    for key in all_keys().values():
        if key.variable is None:
            continue
        name = key.variable.removeprefix("HEADRACE__")
        with pytest.raises(ConfigError, match="there is no such key"):
            loaded(tmp_path, "", None, **{f"{name}_NOT": "1"})
        assert "there is no such key" not in said_of({key.variable: "1"})


# ── secrets ──────────────────────────────────────────────────────────────────────────────────

SECRET = "s3cr3t-XyZZy-0451"


@pytest.mark.parametrize(
    "text",
    [
        f'[druid]\npassword = ["{SECRET}"]\n',
        f'[druid]\npasword = "{SECRET}"\n',
        f'[druid]\ntoken = "{SECRET}"\npassword = "{SECRET}"\nusername = "u"\n',
        f'[druid]\nurl = "ftp://u:{SECRET}@druid/"\n',
        f'[druid]\nurl = "http://u:{SECRET}@druid/"\nusername = "u"\n',
        f'[druid]\nfetch_port = "{SECRET}"\nfetch_url = "http://u:{SECRET}@h/"\n',
        f'druid = "{SECRET}"\n',
        f'druid = ["{SECRET}"]\n',
        f'[http]\nport = "{SECRET}"\n[ingest]\nbatch_age_s = "{SECRET}"\nretry_s = "{SECRET}"\n',
        f'[ingest]\nbatch_bytes_max = "1 {SECRET}"\n',
        f'[druid]\npassword = "{SECRET}\n',
        f"[druid]\npassword = {SECRET}\n",
        f'[access.jwt]\njwks_url = "ftp://u:{SECRET}@h/?key={SECRET}"\n',
        f'[http]\ncors_origins = ["https://u:{SECRET}@h"]\n',
        f'[druid]\npassword = "{SECRET}"\npassword = 1\n',
    ],
)
def test_no_error_holds_a_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, text)
    error: BaseException | None = refused.value
    while error is not None:  # what a traceback would print
        assert error.__suppress_context__ or error.__context__ is None
        assert SECRET not in str(error)
        assert SECRET not in repr(error)
        error = error.__cause__


@given(st.sampled_from([key.variable for key in all_keys().values() if key.variable]))
def test_no_error_of_a_variable_holds_its_text(variable: str) -> None:
    said = said_of({variable: SECRET, f"{variable}_X": SECRET})
    assert f"{variable}_X: " in said
    assert SECRET not in said
