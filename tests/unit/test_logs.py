"""The log: one form whoever speaks, levels that change while it runs, and no secret in it."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from gateway.config import Config, LogConfig
from gateway.process.logs import HIDDEN, redacted_text, reload_level, set_up_log


class Log:
    """What was logged."""

    def __init__(self, log_format: str = "json", level: str = "info") -> None:
        self.out = io.StringIO()
        config = LogConfig.model_validate({"format": log_format, "level": level})
        set_up_log(config, self.out)

    @property
    def text(self) -> str:
        """As it stands there."""
        return self.out.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Each as its JSON object."""
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """What is set up here is set up for the whole process."""
    root, kept = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    with warnings.catch_warnings():
        yield
    logging.captureWarnings(False)
    structlog.configure(**kept)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_says_when_how_bad_who_and_what_in_this_order() -> None:
    log = Log()
    structlog.get_logger("headrace.committer").warning("no reply", batch_id="b1", rows=3)
    (line,) = log.lines
    assert list(line) == ["time", "level", "logger", "event", "batch_id", "rows"]
    assert (line["level"], line["logger"]) == ("warning", "headrace.committer")
    assert (line["event"], line["batch_id"], line["rows"]) == ("no reply", "b1", 3)
    assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)


def test_pythons_own_logging_comes_out_the_same_way() -> None:
    log = Log()
    logging.getLogger("hypercorn.error").warning("got %s of %d", "part", 7)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(True)
        warnings.warn("this is old", stacklevel=1)
    first, second = log.lines
    assert list(first) == ["time", "level", "logger", "event"]
    assert (first["level"], first["logger"]) == ("warning", "hypercorn.error")
    assert first["event"] == "got part of 7"
    assert second["logger"] == "py.warnings"
    assert "this is old" in second["event"]


def test_an_exception_is_one_line_with_its_traceback() -> None:
    log = Log()
    try:
        int("the reason")
    except ValueError as error:
        structlog.get_logger("headrace").error("failed", exc_info=error)
        logging.getLogger("asyncio").exception("a task failed")
    ours, theirs = log.lines
    for line in (ours, theirs):
        assert line["level"] == "error"
        assert line["exception"].startswith("Traceback")
        assert "the reason" in line["exception"]


def test_for_people_it_is_no_json() -> None:
    log = Log("console")
    structlog.get_logger("headrace").info("certificate", days_left=3)
    assert "[info" in log.text
    assert "days_left=3" in log.text
    with pytest.raises(json.JSONDecodeError):
        json.loads(log.text)


def test_without_a_terminal_auto_is_json() -> None:
    log = Log("auto")
    structlog.get_logger("headrace").info("x")
    assert log.lines[0]["event"] == "x"


def test_the_level_changes_for_loggers_that_were_made_before() -> None:
    log = Log()
    early = structlog.get_logger("headrace").bind(stream="S")
    logger = structlog.get_logger("headrace.http")
    early.debug("unsaid")
    logger.debug("unsaid")
    reload_level(Config(log=LogConfig(level="debug")))
    logger.debug("said")
    logging.getLogger("aiohttp").debug("said too")
    reload_level(Config(log=LogConfig(level="error")))
    logger.warning("unsaid")
    logging.getLogger("aiohttp").warning("unsaid")
    logger.error("said last")
    assert [line["event"] for line in log.lines] == ["said", "said too", "said last"]


def test_other_peoples_idle_talk_is_for_who_debugs() -> None:
    log = Log()
    logging.getLogger("hypercorn.error").info("Running on http://127.0.0.1:8088")
    assert log.text == ""


def test_what_no_json_can_hold_is_written_as_text() -> None:
    log = Log()
    structlog.get_logger("headrace").info("x", path=io, raw=b"\xff", bad="a\ud800", many={1: {2}})
    assert log.lines[0]["raw"] == "\ufffd"
    assert log.lines[0]["many"] == {"1": [2]}


@pytest.mark.parametrize(
    "key",
    ["authorization", "Authorization", "password", "druid.password", "token", "access_token",
     "fetch_secret", "api_key", "private-key", "set-cookie", "credentials"],
)  # fmt: skip
def test_what_is_named_like_a_secret_is_hidden_wherever_it_lies(key: str) -> None:
    log = Log()
    logger = structlog.get_logger("headrace")
    logger.info("x", **{key: "hunter2"}, headers={key: "hunter2", "deeper": [{key: b"hunter2"}]})
    assert "hunter2" not in log.text
    assert log.lines[0][key] == HIDDEN


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic aHVudGVyMg==hunter2",
        "sent 'authorization: Bearer hunter2.x.y' to Druid",
        "BEARER hunter2-hunter2",
        "password=hunter2 for druid",
        '{"password": "hunter2", "x": 1}',
        "{'client_secret': 'hunter2'}",
        '{\\"token\\":\\"hunter2\\"}',
        "http://user:hunter2@druid:8888/druid/v2/sql",
        "http://:hunter2@druid/",
        "GET http://127.0.0.1:8088/batches/hunter2hunter2hunter2hunter2 failed",
        "https://druid/?access_token=hunter2&x=1",
    ],
)
def test_what_looks_like_a_secret_is_hidden_in_any_text(text: str) -> None:
    log = Log()
    structlog.get_logger("headrace").info(text, error=text, more=[text])
    try:
        dict[str, int]()[text]
    except KeyError as error:
        structlog.get_logger("headrace").error("failed", exc_info=error)
    logging.getLogger("aiohttp").warning("%s", text)
    assert len(log.lines) == 3
    assert "hunter2" not in log.text


@pytest.mark.parametrize(
    "text",
    [
        "the warehouse does not answer",
        "druid.password_file: /run/secrets/druid cannot be read",
        "basic authentication is off",
        "row 3: Key field must be specified: ID",
        "http://127.0.0.1:8088/batches/b1/retry",
        "at http://druid:8888/druid/v2/sql",
        "a@b.example",
    ],
)
def test_what_is_no_secret_is_left_as_it_is(text: str) -> None:
    assert redacted_text(text) == text


def test_what_is_none_or_a_number_is_left_as_it_is() -> None:
    log = Log()
    structlog.get_logger("headrace").info("x", token=None, rows=3, share=0.5, ok=True, left=2)
    (line,) = log.lines
    assert (line["token"], line["rows"], line["share"], line["ok"]) == (None, 3, 0.5, True)
    assert line["left"] == 2
