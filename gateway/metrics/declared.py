"""The table of all metrics: each declared here, once, with its name, type, unit, labels and help.

Names, labels and units are a promise like the wire's: dashboards and alerts in `deploy/` use them,
and a test holds them against this table. Seconds and bytes throughout; counters end in ``_total``.

Every label has few values. ``target`` is the name of a stream, of which so many are told apart
(`gateway.metrics.Metrics`) and the others together as ``(other)``; so is ``code``, a warehouse's
word for a failure.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Prometheus's types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Unit(StrEnum):
    """What a value counts."""

    SECONDS = "seconds"
    BYTES = "bytes"
    ROWS = "rows"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric. ``buckets``: upper bounds of a histogram's."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: Unit = Unit.NONE
    buckets: tuple[float, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of its samples, as a query names them."""
        if self.kind is Kind.HISTOGRAM:
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (self.name,)


def _counter(name: str, text: str, *labels: str, unit: Unit = Unit.NONE) -> Declared:
    return Declared(name, Kind.COUNTER, text, labels, unit)


def _gauge(name: str, text: str, *labels: str, unit: Unit = Unit.NONE) -> Declared:
    return Declared(name, Kind.GAUGE, text, labels, unit)


def _histogram(
    name: str, text: str, *labels: str, buckets: tuple[float, ...], unit: Unit = Unit.SECONDS
) -> Declared:
    return Declared(name, Kind.HISTOGRAM, text, labels, unit, buckets)


_FAST_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_WIDE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 5.0,
           10.0, 30.0, 60.0, 120.0, 300.0, 900.0)  # fmt: skip
_TASK_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
_SIZES = tuple(float(1 << power) for power in range(10, 29, 2))
_COUNTS = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 2.5e5, 1e6)

# ── rows going down ──────────────────────────────────────────────────────────────────────────

ROWS_RECEIVED = _counter(
    "headrace_rows_received_total", "Rows that passed their check", "target", unit=Unit.ROWS
)
BYTES_RECEIVED = _counter(
    "headrace_received_bytes_total", "What these rows take as spooled", "target", unit=Unit.BYTES
)
CHUNKS_RECEIVED = _counter(
    "headrace_chunks_received_total", "Stretches of rows that one read brought to one stream"
)
ROWS_REFUSED = _counter(
    "headrace_rows_refused_total",
    "Rows that are not stored, by who refused them: check (the schema) or warehouse (a task)",
    "target", "reason", unit=Unit.ROWS,
)  # fmt: skip
DUPLICATES = _counter(
    "headrace_rows_duplicate_total",
    "Rows sent again on a channel that were held already",
    unit=Unit.ROWS,
)
ROWS_ACKED = _counter(
    "headrace_rows_acked_total",
    "Rows that reached the level their stream asked for",
    "target", "level", unit=Unit.ROWS,
)  # fmt: skip
ACK_LATENCY = _histogram(
    "headrace_ack_latency_seconds",
    "From the arrival of a chunk's rows to the level their stream asked for",
    "level", buckets=_WIDE_S,
)  # fmt: skip
STREAMS_OPENED = _counter("headrace_insert_streams_total", "Insert streams that were admitted")
STREAMS_BROKEN = _counter(
    "headrace_insert_streams_broken_total",
    "Insert streams that ended by an error among their acks, by its code",
    "code",
)
STREAMS_OPEN = _gauge("headrace_insert_streams_open", "Insert streams that are open")
STREAMS_STALLED = _gauge(
    "headrace_insert_streams_stalled", "Insert streams whose rows are held: the spool has no room"
)
CHANNELS = _gauge("headrace_channels", "Channels that are known")
CHANNELS_MAX = _gauge("headrace_channels_limit", "Channels that may be known at the most")
CHANNELS_HELD = _gauge("headrace_channels_held", "Channels that an open stream is on")

# ── the spool ────────────────────────────────────────────────────────────────────────────────

SPOOL_WRITE = _histogram(
    "headrace_spool_write_seconds", "One transaction of the spool, its fsync included",
    buckets=_FAST_S,
)  # fmt: skip
SPOOL_WRITE_BYTES = _histogram(
    "headrace_spool_write_bytes", "Rows in one transaction of the spool",
    buckets=_SIZES, unit=Unit.BYTES,
)  # fmt: skip
SPOOL_FAILURES = _counter(
    "headrace_spool_write_failures_total", "Transactions that the disk refused"
)
SPOOL_BYTES = _gauge(
    "headrace_spool_stored_bytes", "Rows in the spool, those kept for push queries included",
    unit=Unit.BYTES,
)  # fmt: skip
SPOOL_LIMIT = _gauge("headrace_spool_limit_bytes", "Rows that the spool may hold", unit=Unit.BYTES)
SPOOL_ROWS = _gauge("headrace_spool_rows", "Rows in the spool", unit=Unit.ROWS)
SPOOL_UNSEALED = _gauge("headrace_spool_unsealed_rows", "Rows in no batch yet", unit=Unit.ROWS)
SPOOL_FILE = _gauge(
    "headrace_spool_file_bytes", "The spool's files on disk, its log included", unit=Unit.BYTES
)
SPOOL_DISK_FREE = _gauge(
    "headrace_spool_disk_free_bytes", "Free on the spool's disk", unit=Unit.BYTES
)
SPOOL_AGE = _gauge(
    "headrace_spool_backlog_age_seconds", "How long the oldest row waits that is not committed",
    unit=Unit.SECONDS,
)  # fmt: skip
SPOOL_AGE_LIMIT = _gauge(
    "headrace_spool_backlog_age_limit_seconds", "Age at which no more rows are taken",
    unit=Unit.SECONDS,
)  # fmt: skip
SPOOL_TAKES = _gauge("headrace_spool_takes_rows", "1 while rows are taken")

# ── batches and tasks ────────────────────────────────────────────────────────────────────────

BATCHES = _counter(
    "headrace_batches_total", "Batches that came to an end, by which: committed, held, failed, "
    "split, dropped", "outcome",
)  # fmt: skip
BATCHES_LIVE = _gauge("headrace_batches_open", "Batches that are not over, by state", "state")
BATCH_ROWS = _histogram(
    "headrace_batch_rows", "Rows of a sealed batch", buckets=_COUNTS, unit=Unit.ROWS
)
BATCH_BYTES = _histogram(
    "headrace_batch_bytes", "Bytes of a sealed batch", buckets=_SIZES, unit=Unit.BYTES
)
BATCH_WAIT = _histogram(
    "headrace_batch_wait_seconds",
    "From the arrival of a batch's oldest row to its first submission",
    buckets=_WIDE_S,
)
ROWS_COMMITTED = _counter(
    "headrace_rows_committed_total", "Rows of committed batches", "target", unit=Unit.ROWS
)
BYTES_COMMITTED = _counter(
    "headrace_committed_bytes_total", "Bytes of committed batches", "target", unit=Unit.BYTES
)
TASKS = _counter("headrace_tasks_total", "Tasks submitted for batches: attempts, retries included")
RETRIES = _counter("headrace_task_retries_total", "Those of them beyond a batch's first")
BISECT_TASKS = _counter(
    "headrace_bisect_tasks_total", "Those of them for halves of a batch with a row at fault"
)
TASK_FAILURES = _counter(
    "headrace_task_failures_total", "Tasks that failed, by the warehouse's code", "code"
)
TASK_DURATION = _histogram(
    "headrace_task_duration_seconds", "From a task's acceptance to its end, by how it ended: "
    "success, failure", "outcome", buckets=_TASK_S,
)  # fmt: skip
SLOTS_FREE = _gauge(
    "headrace_batch_slots_free", "Batches that the warehouse had room for when it was last asked"
)
BATCHES_WAITING = _gauge("headrace_batches_waiting", "Batches that wait for such a slot")
DEAD_LETTERS = _gauge("headrace_dead_letters", "Dead letters on disk, by state", "state")
DEAD_LETTERS_BYTES = _gauge(
    "headrace_dead_letters_open_bytes", "Rows of open dead letters", unit=Unit.BYTES
)
DEAD_LETTERS_LIMIT = _gauge(
    "headrace_dead_letters_limit_bytes", "What they may take", unit=Unit.BYTES
)

# ── the warehouse ────────────────────────────────────────────────────────────────────────────

WAREHOUSE_UP = _gauge("headrace_warehouse_up", "1 while the warehouse answers")
WAREHOUSE_AWAY = _gauge(
    "headrace_warehouse_away_seconds", "For how long it has not answered; 0 while it does",
    unit=Unit.SECONDS,
)  # fmt: skip
WAREHOUSE_LOST = _counter(
    "headrace_warehouse_unreachable_seconds_total", "Seconds in which it did not answer",
    unit=Unit.SECONDS,
)  # fmt: skip

# ── the front door ───────────────────────────────────────────────────────────────────────────

CONNECTIONS = _counter("headrace_http2_connections_total", "HTTP/2 connections that began")
CONNECTIONS_OPEN = _gauge("headrace_http2_connections_open", "HTTP/2 connections that are open")
H2_STREAMS = _counter("headrace_http2_streams_total", "HTTP/2 streams that peers opened")
H2_STREAMS_OPEN = _gauge("headrace_http2_streams_open", "HTTP/2 streams that are open")
H2_REFUSED = _counter("headrace_http2_streams_refused_total", "HTTP/2 streams that were refused")
H2_RESETS = _counter(
    "headrace_http2_resets_total", "HTTP/2 streams that were reset, by whom: peer, gateway", "by"
)
H2_FLOODS = _counter(
    "headrace_http2_floods_stopped_total",
    "HTTP/2 connections ended for what they cost, by what: resets, controls, unread",
    "what",
)
H2_PINGS = _counter("headrace_http2_pings_total", "PINGs sent while something was owed")
WINDOW_STALLS = _counter(
    "headrace_window_stalls_total", "Times that a client had used up a stream's window"
)
WINDOW_STALL_TIME = _counter(
    "headrace_window_stall_seconds_total", "Seconds for which such windows were closed",
    unit=Unit.SECONDS,
)  # fmt: skip
WINDOWS_CLOSED = _gauge("headrace_windows_closed", "Streams whose window is used up now")
REQUESTS = _counter(
    "headrace_http_requests_total",
    "Requests answered, by port (front, admin), route and class of status (2xx, 4xx, …)",
    "port", "route", "status",
)  # fmt: skip
REQUEST_LATENCY = _histogram(
    "headrace_http_response_start_seconds",
    "From a request's headers to those of its response",
    "port", "route", buckets=_WIDE_S[1:15],
)  # fmt: skip
ACCESS_REFUSED = _counter(
    "headrace_access_refused_total",
    "Requests refused: unauthorized (401), forbidden (403), too_many (429)",
    "reason",
)
STATEMENTS = _counter(
    "headrace_statements_total", "Requests with statements to /ksql, by outcome: ok, error",
    "outcome",
)  # fmt: skip
CERTIFICATE_EXPIRY = _gauge(
    "headrace_certificate_expiry_seconds",
    "Until the certificate of a port runs out; below 0 once it has",
    "port", unit=Unit.SECONDS,
)  # fmt: skip

# ── rows coming up ───────────────────────────────────────────────────────────────────────────

PUSH_QUERIES = _counter("headrace_push_queries_total", "Push queries that began")
PUSH_OPEN = _gauge("headrace_push_queries_open", "Push queries that run: the fan-out")
PUSH_LIMIT = _gauge("headrace_push_queries_limit", "Push queries that may run")
PUSH_STATEMENTS = _gauge(
    "headrace_push_statements", "Different statements among those that keep up: each is evaluated "
    "once for all",
)  # fmt: skip
PUSH_ROWS = _counter(
    "headrace_push_rows_delivered_total", "Rows that were given to readers", unit=Unit.ROWS
)
PUSH_EVALUATIONS = _counter(
    "headrace_push_evaluations_total",
    "Evaluations of a block of the log, by whom for: followers, laggards",
    "by",
)
PUSH_SLOW = _counter(
    "headrace_push_slow_readers_total", "Push queries ended because nobody read them"
)
PUSH_SPILLS = _counter(
    "headrace_push_mailbox_spills_total",
    "Times a reader's mailbox was full, from where on it is fed from the spool",
)
PUSH_MAILBOX_ROWS = _gauge(
    "headrace_push_mailbox_rows", "Rows that wait in mailboxes", unit=Unit.ROWS
)
PUSH_MAILBOX_BYTES = _gauge(
    "headrace_push_mailbox_bytes", "Bytes that wait in mailboxes", unit=Unit.BYTES
)
PUSH_BEHIND = _gauge(
    "headrace_push_entries_behind", "Entries of the log that the slowest reader has before it"
)
PULL_QUERIES = _counter(
    "headrace_pull_queries_total", "Pull queries that ended, by how: ok, error, closed", "outcome"
)
PULL_OPEN = _gauge("headrace_pull_queries_open", "Pull queries that run")
PULL_ROWS = _counter("headrace_pull_rows_total", "Rows of pull queries", unit=Unit.ROWS)
PULL_LATENCY = _histogram(
    "headrace_pull_query_seconds", "From a pull query's start to its end", buckets=_WIDE_S
)

# ── the process ──────────────────────────────────────────────────────────────────────────────

BUILD = _gauge("headrace_build_info", "1, with the version and the kind of warehouse",
               "version", "warehouse")  # fmt: skip
UPTIME = _gauge("headrace_uptime_seconds", "Since the start", unit=Unit.SECONDS)
STATE = _gauge(
    "headrace_server_state", "1 for the state it is in: STARTING, RUNNING, STOPPING, STOPPED",
    "state",
)  # fmt: skip
READY = _gauge("headrace_ready", "1 while /readyz answers 200")
LOOP_LAG = _histogram(
    "headrace_event_loop_lag_seconds", "By how much a timer of the event loop was late",
    buckets=_FAST_S,
)  # fmt: skip

DECLARED: tuple[Declared, ...] = tuple(
    value for value in vars().copy().values() if isinstance(value, Declared)
)
"""All of them, in the order of the table."""
