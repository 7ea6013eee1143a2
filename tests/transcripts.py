"""Transcripts of `protocol/wire.md`: read from its text, and spoken to a gateway, frame by frame.

A transcript is a fenced block whose info string begins with ``transcript``. Its lines are steps:
``C:`` what the client sends, ``S:`` what the server sends. ``HEADERS``, ``DATA`` and ``END``
(END_STREAM) are frames; indented lines are header fields of the line above; ``BYTES`` is part of a
body whose frames may be cut anywhere. ``⏎`` is the byte 0A. ``«name»`` is a value that differs from
run to run: where it comes again it is the same.

Law: a frame matches in whole or not at all; a step that does not come in time fails.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.peers import Peer
from tests.streams import DEADLINE_S, Stream

_BLOCK = re.compile(r"^```transcript ([^\n]+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_STEP = re.compile(r"(C|S): (?:(HEADERS|DATA|END|BYTES)(?: (.*))?|  ([\w:-]+): (.*))")
_VALUE = re.compile("«(\\w+)»")

UNTOLD = frozenset({":status", "date"})
"""fields that a transcript leaves out"""


@dataclass(slots=True)
class Step:
    """``sender`` is C or S, ``kind`` the frame; ``fields`` those of its HEADERS."""

    sender: str
    kind: str
    text: str
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transcript:
    """One exchange on one stream."""

    name: str
    steps: tuple[Step, ...]


def transcripts(text: str) -> Iterator[Transcript]:
    """Those of a document, in its order. Raises ValueError for a line that is no step."""
    for name, block in _BLOCK.findall(text):
        yield Transcript(name, tuple(_steps(block)))


def _steps(block: str) -> Iterator[Step]:
    last: Step | None = None
    for line in block.splitlines():
        match = _STEP.fullmatch(line)
        if match is None:
            raise ValueError(f"not a step of a transcript: {line!r}")
        sender, kind, text, name, value = match.groups()
        if kind is None:
            if last is None or last.kind != "HEADERS" or last.sender != sender:
                raise ValueError(f"a field without its HEADERS: {line!r}")
            last.fields[name] = value
            continue
        if last is not None:
            yield last
        last = Step(sender, kind, text or "")
    if last is not None:
        yield last


class Replay:
    """Speaks transcripts over one connection; what differs from run to run is kept between them."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._values: dict[str, str] = {}

    def run(self, transcript: Transcript) -> None:
        """Send and expect each step in turn."""
        stream: Stream | None = None
        frames, read_bytes = 0, 0
        for step in transcript.steps:
            if step.sender == "C":
                stream = self._send(stream, step)
                continue
            assert stream is not None, "the client speaks first"
            match step.kind:
                case "HEADERS":
                    self._expect_headers(stream, step)
                case "DATA":
                    self._await(stream, lambda s=stream, n=frames: len(s.frames) > n, step)
                    assert len(stream.frames) > frames, f"over before {step}: {stream.body!r}"
                    self._match(step.text, stream.frames[frames])
                    frames += 1
                    read_bytes = len(b"".join(stream.frames[:frames]))
                case "BYTES":
                    read_bytes += self._expect_bytes(stream, step, read_bytes)
                    frames = len(stream.frames)
                case "END":
                    stream.read_to_end()
                    assert stream.frames[frames:] in ([], [b""]), stream.frames[frames:]

    def _send(self, stream: Stream | None, step: Step) -> Stream:
        if step.kind == "HEADERS":
            method, path = self._filled(step.text).split(" ")
            fields = [(name, self._filled(value)) for name, value in step.fields.items()]
            return self._peer.open(method, path, fields)
        assert stream is not None, "a transcript begins with HEADERS"
        if step.kind == "END":
            stream.end()
        else:
            stream.send(_bytes(self._filled(step.text)))
        return stream

    def _expect_headers(self, stream: Stream, step: Step) -> None:
        found = stream.read_headers()
        assert found[":status"] == step.text, (found, stream.body)
        told = {name: value for name, value in found.items() if name not in UNTOLD}
        assert set(told) == set(step.fields), f"fields of {step}: {told}"
        for name, value in step.fields.items():
            self._match(value, told[name].encode())

    def _expect_bytes(self, stream: Stream, step: Step, start: int) -> int:
        pattern = re.compile(self._pattern(step.text))
        self._await(stream, lambda: pattern.match(stream.body, start) is not None, step)
        match = pattern.match(stream.body, start)
        assert match is not None, f"wanted {step.text}, got {stream.body[start:]!r}"
        self._keep(match)
        return match.end() - start

    def _await(self, stream: Stream, holds: object, step: Step) -> None:
        assert callable(holds)
        self._peer.read_until(
            lambda: bool(holds()) or stream.over, DEADLINE_S, f"{step.kind} {step.text}"
        )

    def _match(self, wanted: str, found: bytes) -> None:
        match = re.fullmatch(self._pattern(wanted), found, re.DOTALL)
        assert match is not None, f"wanted {wanted}\ngot    {found!r}"
        self._keep(match)

    def _pattern(self, text: str) -> bytes:
        """A regular expression over bytes in which unknown values are groups."""
        parts, seen = list[bytes](), set[str]()
        for number, part in enumerate(_VALUE.split(text)):
            if number % 2 == 0:
                parts.append(re.escape(_bytes(part)))
            elif part in self._values:
                parts.append(re.escape(self._values[part].encode()))
            elif part in seen:
                parts.append(b"(?P=" + part.encode() + b")")
            else:
                seen.add(part)
                parts.append(b"(?P<" + part.encode() + rb">[^\"]+?)")
        return b"".join(parts)

    def _keep(self, match: re.Match[bytes]) -> None:
        self._values |= {name: value.decode() for name, value in match.groupdict().items()}

    def _filled(self, text: str) -> str:
        return _VALUE.sub(lambda found: self._values[found[1]], text)


def _bytes(text: str) -> bytes:
    return text.replace("⏎", "\n").encode()
