"""What the configuration means to each room: its keys into the rooms' own limits and settings.

Pure, and the only place that knows both sides: rooms know no configuration, the configuration no
room.
"""

from gateway.config import Config
from gateway.http.admin import AdminLimits
from gateway.http.app import LANE_PATHS, HttpLimits
from gateway.http.h2core import H2Options
from gateway.http.inserts import InsertLimits
from gateway.http.server import TlsFiles
from gateway.ingest.ingest_room import IngestLimits
from gateway.ingest.parts import CommitterTimes
from gateway.ingest.policy import BatchLimits
from gateway.ingest.task_log import TaskLogLimits
from gateway.ingest.upkeep import RetentionLimits
from gateway.query.mailbox import MailboxLimits
from gateway.query.pull import PullLimits
from gateway.query.push import SubscriptionLimits
from gateway.seams import Warehouse
from gateway.warehouse.druid.transport import DruidUrls
from gateway.warehouse.druid.warehouse import DruidSettings, DruidWarehouse
from gateway.warehouse.embedded import EmbeddedWarehouse


def tls_files(config: Config) -> TlsFiles | None:
    """The certificate that the front door shows, if any."""
    certificate, key = config.http.tls_cert_file, config.http.tls_key_file
    return TlsFiles(certificate, key) if certificate and key else None


def h2_options(config: Config) -> H2Options:
    """What our HTTP/2 connection allows."""
    http = config.http
    return H2Options(
        lane_paths=LANE_PATHS,
        streams_max=http.streams_max,
        stream_window_bytes=http.stream_window_bytes,
        connection_window_bytes=http.connection_window_bytes,
        overrun_max_bytes=http.overrun_max_bytes,
        ping_s=http.ping_s,
        header_s=http.header_s,
        idle_s=http.idle_s,
    )


def ingest_limits(config: Config) -> IngestLimits:
    """Of the ingest room."""
    ingest = config.ingest
    return IngestLimits(
        batch=BatchLimits(
            rows_max=ingest.batch_rows_max,
            bytes_max=ingest.batch_bytes_max,
            age_s=config.batch_age_s,
        ),
        times=CommitterTimes(
            poll_s=config.poll_s, retry_s=ingest.retry_s, retry_max_s=ingest.retry_max_s
        ),
        retention=RetentionLimits(
            keep_s=ingest.retention_s, keep_bytes=ingest.retention_bytes, sweep_s=ingest.sweep_s
        ),
        spool_bytes=ingest.spool_limit_bytes,
        spool_age_s=ingest.spool_age_limit_s,
        stall_s=ingest.stall_s,
        channels_max=ingest.channels_max,
        letters_bytes=ingest.dead_letters_limit_bytes,
        bisect_tasks_max=ingest.bisect_tasks_max,
        task_log=TaskLogLimits(
            rows=config.query.task_changes_max, size_bytes=config.query.task_changes_bytes
        ),
    )


def make_warehouse(config: Config, own_url: str, secret: bytes) -> Warehouse:
    """The warehouse that the configuration names."""
    if config.warehouse == "embedded":
        return EmbeddedWarehouse(
            config.data_dir / "warehouse.duckdb",
            readers=config.embedded.readers,
            memory_limit=f"{config.embedded.memory_limit_bytes}B",
        )
    return DruidWarehouse(
        DruidSettings(
            urls=DruidUrls.router(config.druid.url),
            fetch_base_url=config.druid.fetch_url or own_url,
            fetch_secret=secret,
            inline_limit_bytes=config.druid.inline_limit_bytes,
        )
    )


def http_limits(config: Config) -> HttpLimits:
    """Of the front door."""
    return HttpLimits(
        body_bytes=config.http.body_limit_bytes,
        overrun_max_bytes=config.http.overrun_max_bytes,
        inserts_over_http1=config.http.inserts_over_http1,
        inserts=insert_limits(config),
    )


def insert_limits(config: Config) -> InsertLimits:
    """Of one insert stream."""
    return InsertLimits(
        row_bytes=config.http.row_limit_bytes,
        waiting_bytes=config.http.stream_budget_bytes,
        ack=config.ingest.ack,
    )


def push_limits(config: Config) -> SubscriptionLimits:
    """Of one push query."""
    query = config.query
    mailbox = MailboxLimits(rows=query.mailbox_rows, size_bytes=query.mailbox_bytes)
    return SubscriptionLimits(mailbox=mailbox, slow_reader_s=query.slow_reader_s)


def pull_limits(config: Config) -> PullLimits:
    """Of pull queries."""
    return PullLimits(
        queries_max=config.query.pull_queries_max,
        timeout_s=config.query.pull_timeout_s,
        rows_max=config.query.pull_rows_max,
    )


def admin_limits(config: Config) -> AdminLimits:
    """Of the admin port."""
    return AdminLimits(
        body_bytes=config.http.body_limit_bytes, row_bytes=config.http.row_limit_bytes
    )
