"""The configuration: which source wins, and that what is wrong stops the start by name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import EX_CONFIG, serve
from gateway.config import Config, ConfigError, load


def written(folder: Path, text: str) -> Path:
    file = folder / "headrace.toml"
    file.write_text(text)
    return file


def test_the_defaults_stand_on_the_embedded_warehouse_and_the_loopback() -> None:
    config = load(None, {})
    assert (config.warehouse, config.http.host, config.http.port) == ("embedded", "127.0.0.1", 8088)


def test_a_file_wins_over_defaults_the_environment_over_it_and_flags_over_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "[http]\nport = 1\n[ingest]\nbatch_rows_max = 2\nstall_s = 3.0\n")
    monkeypatch.setenv("HEADRACE__INGEST__BATCH_ROWS_MAX", "20")
    monkeypatch.setenv("HEADRACE__HTTP__PORT", "10")
    config = load(file, {"http": {"port": 100}})
    assert (config.http.port, config.ingest.batch_rows_max, config.ingest.stall_s) == (100, 20, 3.0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[http]\nprot = 1\n", "http.prot"),
        ("[nothing]\na = 1\n", "nothing"),
        ('[http]\nport = "x"\n', "http.port"),
        ("[http]\nport = 70000\n", "http.port"),
        ("[ingest]\nbatch_age_s = -1\n", "ingest.batch_age_s"),
        ('[ingest]\nack = "maybe"\n', "ingest.ack"),
        ('warehouse = "oracle"\n', "warehouse"),
        ("[http\n", "headrace.toml"),
    ],
)
def test_what_is_unknown_or_out_of_range_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load(written(tmp_path, text), {})


def test_an_unknown_key_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE__HTTP__PROT", "1")
    with pytest.raises(ConfigError, match=r"http\.prot"):
        load(None, {})


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"http": {"stream_window_bytes": 20 << 20}}, "within its connection's"),
        ({"ingest": {"batch_bytes_max": 1000}}, "a row must fit into a batch"),
        ({"ingest": {"spool_limit_bytes": 1000}}, "a batch must fit into the spool"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(
    values: dict[str, object], remedy: str
) -> None:
    with pytest.raises(ConfigError, match=remedy):
        load(None, values)


@pytest.mark.parametrize(
    ("text", "port"), [("", 8089), ("port = 0", 0), ('port = "OFF"', None), ("port = false", None)]
)
def test_the_admin_port_can_be_moved_and_switched_off(
    tmp_path: Path, text: str, port: int | None
) -> None:
    admin = load(written(tmp_path, f"[admin]\n{text}\n"), {}).admin
    assert (admin.host, admin.port) == ("127.0.0.1", port)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load(tmp_path / "missing.toml", {})


def test_the_command_says_what_is_wrong_and_exits_with_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, "[http]\nprot = 1\n")
    assert serve(config=file) == EX_CONFIG
    assert "http.prot" in capsys.readouterr().err


@given(st.sampled_from(["embedded", "druid"]))
def test_druid_waits_longer_for_a_batch_since_each_costs_a_task(warehouse: str) -> None:
    config = Config(warehouse=warehouse)  # type: ignore[arg-type]
    assert (config.batch_age_s >= 1.0) == (warehouse == "druid")
    assert config.poll_s < config.batch_age_s
