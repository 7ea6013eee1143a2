"""h2 as we use it, the limits it is given, and the few frames that we write past it.

`h2` keeps HPACK, settings, stream states and GOAWAY. What it would do differently is overridden
here, and nowhere else.
"""

from collections.abc import Collection
from dataclasses import dataclass
from struct import Struct

import h2.config
import h2.connection
import h2.settings
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

HEADERS, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 1, 4, 6, 7, 8, 9
END_HEADERS = 0x4
DEFAULT_WINDOW_BYTES = 65535

_window_update = Struct(">IBII").pack
_goaway = Struct(">IBIII").pack


@dataclass(frozen=True, slots=True, kw_only=True)
class H2Options:
    """Limits and times of a connection."""

    lane_paths: Collection[bytes] = ()
    streams_max: int = 1000
    stream_window_bytes: int = 512 << 10
    connection_window_bytes: int = 16 << 20
    data_frame_max_bytes: int = (1 << 24) - 1
    """advertised: DATA is never kept, so a frame may be as long as it likes"""
    frame_limit_bytes: int = 64 << 10
    """any other frame"""
    header_list_max_bytes: int = 64 << 10
    overrun_max_bytes: int = 8 << 20
    """bytes of a lane that wait, where its sender ignores the window"""
    ping_s: float = 2.0
    header_s: float = 10.0
    """for the preface, and for a frame or a header block that has begun"""
    idle_s: float = 300.0
    linger_s: float = 1.0
    """how long a peer may go on sending to a stream that was answered in full"""
    resets_max: int = 200
    resets_window_s: float = 30.0
    control_frames_max: int = 2000
    control_window_s: float = 10.0


class H2Core(h2.connection.H2Connection):
    """h2's, without its own limit on streams: it would end the connection, we refuse the stream."""

    @property
    def open_inbound_streams(self) -> int:
        """Always below the limit."""
        return 0

    def forget_closed_streams(self) -> None:
        """h2 drops closed streams while it counts them, which the override above leaves out."""
        self._open_streams(1)


def new_h2(options: H2Options) -> H2Core:
    """A server's h2 connection that advertises these limits."""
    connection = H2Core(config=h2.config.H2Configuration(client_side=False, header_encoding=None))
    connection.local_settings = h2.settings.Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: options.streams_max,
            SettingCodes.MAX_HEADER_LIST_SIZE: options.header_list_max_bytes,
            SettingCodes.INITIAL_WINDOW_SIZE: options.stream_window_bytes,
            SettingCodes.MAX_FRAME_SIZE: options.data_frame_max_bytes,
            SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
        },
    )
    # What h2 took from its default settings before.
    connection.max_inbound_frame_size = options.frame_limit_bytes
    connection.decoder.max_header_list_size = options.header_list_max_bytes
    return connection


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return _window_update(4 << 8 | WINDOW_UPDATE, 0, stream_id, increment)


def goaway(last_stream_id: int, code: ErrorCodes) -> bytes:
    """A GOAWAY frame. h2's own would end its state machine with the streams still open."""
    return _goaway(8 << 8 | GOAWAY, 0, 0, last_stream_id, code)
