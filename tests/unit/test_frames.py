"""The frame walk against a plain reading of RFC 9113, for any cutting of the bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.frames import (
    PREFACE,
    BadPadding,
    DataChunk,
    FrameTooLong,
    FrameWalk,
    OtherFrame,
)

LIMIT = 64


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream_id.to_bytes(4) + payload


def data_frame(stream_id: int, payload: bytes, *, ended: bool = False, padding: int = -1) -> bytes:
    flags = int(ended)
    if padding >= 0:
        flags |= 8
        payload = bytes([padding]) + payload + b"\0" * padding
    return frame(0, flags, stream_id, payload)


def walk(pieces: list[bytes], *, preface: bool = False) -> list[DataChunk | OtherFrame]:
    walker = FrameWalk(frame_limit_bytes=LIMIT, expects_preface=preface)
    return [event for piece in pieces for event in walker.feed(piece)]


def test_frames_of_one_read_are_merged_per_stream() -> None:
    read = data_frame(1, b"ab") + data_frame(3, b"x") + data_frame(1, b"cd")
    assert walk([read]) == [
        DataChunk(1, b"abcd", 4, 2, ended=False),
        DataChunk(3, b"x", 1, 1, ended=False),
    ]


def test_another_frame_keeps_its_place_between_data() -> None:
    reset = frame(3, 0, 1, b"\0\0\0\0")
    assert walk([data_frame(1, b"ab") + reset + data_frame(1, b"cd")]) == [
        DataChunk(1, b"ab", 2, 1, ended=False),
        OtherFrame(reset),
        DataChunk(1, b"cd", 2, 1, ended=False),
    ]


def test_padding_counts_for_the_windows_and_not_for_the_payload() -> None:
    assert walk([data_frame(1, b"ab", padding=5, ended=True)]) == [
        DataChunk(1, b"ab", 8, 1, ended=True)
    ]


def test_a_long_data_frame_passes_in_pieces_and_is_never_kept() -> None:
    raw = data_frame(1, b"x" * 10_000)
    walker = FrameWalk(frame_limit_bytes=LIMIT, expects_preface=False)
    pieces = [raw[at : at + 100] for at in range(0, len(raw), 100)]
    events = [event for piece in pieces for event in walker.feed(piece)]
    sizes = [event.flow_bytes for event in events if isinstance(event, DataChunk)]
    assert sum(sizes) == 10_000
    assert max(sizes) <= 100
    assert not walker.waits


def test_a_frame_over_the_limit_is_refused_from_its_header() -> None:
    with pytest.raises(FrameTooLong):
        walk([(1 << 23).to_bytes(3) + bytes([1, 4]) + (1).to_bytes(4)])


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x05abc"])
def test_padding_as_long_as_its_frame_is_refused(payload: bytes) -> None:
    with pytest.raises(BadPadding):
        walk([frame(0, 8, 1, payload)])


def test_data_after_the_end_stays_visible() -> None:
    events = walk([data_frame(1, b"a", ended=True) + data_frame(1, b"b")])
    assert events == [
        DataChunk(1, b"a", 1, 1, ended=True),
        DataChunk(1, b"b", 1, 1, ended=False),
    ]


def test_the_preface_comes_out_first_however_it_is_cut() -> None:
    raw = PREFACE + frame(4, 0, 0, b"")
    for cut in range(len(raw)):
        events = walk([raw[:cut], raw[cut:]], preface=True)
        assert events == [OtherFrame(PREFACE), OtherFrame(frame(4, 0, 0, b""))]


payloads = st.binary(max_size=20)
frames = st.one_of(
    st.builds(
        data_frame,
        st.sampled_from([1, 3]),
        payloads,
        ended=st.booleans(),
        padding=st.integers(-1, 5),
    ),
    st.builds(frame, st.integers(1, 12), st.integers(0, 255), st.integers(0, 5), payloads),
)


def summed(events: list[DataChunk | OtherFrame]) -> list[tuple[str, object]]:
    """Events in a form that does not depend on how reads merged them."""
    out: list[tuple[str, object]] = []
    per_stream: dict[int, list[object]] = {}

    def flush() -> None:
        out.extend((f"data {stream}", tuple(found)) for stream, found in sorted(per_stream.items()))
        per_stream.clear()

    for event in events:
        if isinstance(event, OtherFrame):
            flush()
            out.append(("other", event.raw))
            continue
        found = per_stream.setdefault(event.stream_id, [b"", 0, 0, 0])
        found[0] += event.payload  # type: ignore[operator]
        found[1] += event.flow_bytes  # type: ignore[operator]
        found[2] += event.frames  # type: ignore[operator]
        found[3] += event.ended  # type: ignore[operator]
    flush()
    return out


@given(st.lists(frames, max_size=8), st.data())
def test_events_do_not_depend_on_how_bytes_were_cut(
    drawn: list[bytes], data: st.DataObject
) -> None:
    raw = b"".join(drawn)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert summed(walk(pieces)) == summed(walk([raw]))
    assert summed(walk([raw[at : at + 1] for at in range(len(raw))])) == summed(walk([raw]))


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_end_in_events_or_a_documented_error(pieces: list[bytes]) -> None:
    try:
        walk(pieces)
    except (FrameTooLong, BadPadding):
        return
