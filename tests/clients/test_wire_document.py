"""`protocol/wire.md`, spoken to a gateway byte by byte: what it says is what the gateway does."""

from pathlib import Path

import pytest

from tests.clients.installed import ROOT
from tests.gateways import gateway_process
from tests.transcripts import Replay, transcripts

DOCUMENT: Path = ROOT / "protocol" / "wire.md"
TRANSCRIPTS = list(transcripts(DOCUMENT.read_text()))


def test_every_transcript_of_the_document_is_what_the_gateway_says(tmp_path: Path) -> None:
    # One connection and one gateway for all: later transcripts read what earlier ones stored.
    with gateway_process(tmp_path / "data") as gateway, gateway.peer() as peer:
        replay = Replay(peer)
        for transcript in TRANSCRIPTS:
            try:
                replay.run(transcript)
            except AssertionError as error:
                raise AssertionError(f"{transcript.name}: {error}") from error
        assert gateway.complaints == []
    assert len(TRANSCRIPTS) >= 15


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ("C: DATA without a request⏎", "begins with HEADERS"),
        ("C: HEADERS GET /info\nC: END\nS: HEADERS 201", "200"),
        ("C: HEADERS GET /chc/live\nC: END\nS: HEADERS 200\nS: DATA {}", "fields"),
        (
            "C: HEADERS GET /chc/live\nC: END\nS: HEADERS 200\n"
            "S:   content-type: application/json\nS:   content-length: 2\nS: DATA {} ",
            "wanted",
        ),
    ],
)
def test_a_transcript_that_is_not_so_fails(tmp_path: Path, steps: str, problem: str) -> None:
    (wrong,) = transcripts(f"```transcript wrong\n{steps}\n```\n")
    with (
        gateway_process(tmp_path / "data") as gateway,
        gateway.peer() as peer,
        pytest.raises(AssertionError, match=problem),
    ):
        Replay(peer).run(wrong)


def test_a_line_that_is_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="not a step"):
        list(transcripts("```transcript wrong\nX: HEADERS GET /\n```\n"))
