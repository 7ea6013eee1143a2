"""What the configuration means to each room: its keys into the rooms' own limits and settings.

Pure, and the only place that knows both sides: rooms know no configuration, the configuration no
room.
"""

from collections.abc import Callable
from dataclasses import replace

from gateway.access.settings import AccessSettings, JwtSettings, Limit, Rule
from gateway.config import Config, ConfigError
from gateway.http.admin import AdminLimits
from gateway.http.app import LANE_PATHS, HttpLimits
from gateway.http.h2core import H2Options
from gateway.http.inserts import InsertLimits
from gateway.http.origins import Origins
from gateway.http.tls import TlsFiles
from gateway.ingest.ingest_room import IngestLimits
from gateway.ingest.parts import CommitterTimes
from gateway.ingest.policy import BatchLimits
from gateway.ingest.task_log import TaskLogLimits
from gateway.ingest.upkeep import RetentionLimits
from gateway.query.mailbox import MailboxLimits
from gateway.query.pull import PullLimits
from gateway.query.push import SubscriptionLimits
from gateway.seams import Warehouse
from gateway.tls import KeyPair, LiveContext
from gateway.warehouse.druid.credentials import Authorization, basic, bearer, client_tls
from gateway.warehouse.druid.transport import DruidUrls
from gateway.warehouse.druid.warehouse import DruidSettings, DruidWarehouse
from gateway.warehouse.embedded import EmbeddedWarehouse


def tls_files(config: Config) -> TlsFiles | None:
    """The certificate that the front door shows, if any, and those that it asks for."""
    http = config.http
    if http.tls_cert_file is None or http.tls_key_file is None:
        return None
    return TlsFiles(
        certificate=http.tls_cert_file,
        key=http.tls_key_file,
        client_ca=http.tls_client_ca_file,
        client_auth=http.tls_client_auth,
    )


def admin_tls_files(config: Config) -> TlsFiles | None:
    """The certificate that the admin port shows, if any."""
    certificate, key = config.admin.tls_cert_file, config.admin.tls_key_file
    return TlsFiles(certificate, key, section="admin") if certificate and key else None


def fetch_host(config: Config) -> str | None:
    """Where batches have a listener of their own; None: the front door serves them, if any."""
    return config.druid.fetch_host if config.warehouse == "druid" else None


def fetch_tls_files(config: Config) -> TlsFiles | None:
    """The certificate that that listener shows, if any: the front door's, and it asks for none."""
    files = tls_files(config)
    if files is None or fetch_host(config) is None or config.druid.fetch_tls is False:
        return None
    return replace(files, client_ca=None, client_auth="off")


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


class DruidCredentials:
    """What Druid is shown, read anew by each call: `config` may be exchanged meanwhile."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(self) -> str | None:
        """The header; None: there is none. Raises ValueError if a secret cannot be read."""
        druid = self.config.druid
        try:
            token, password = druid.secret_token(), druid.secret_password()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if token is not None:
            return bearer(token.get_secret_value())
        if druid.username is None:
            return None
        return basic(druid.username, password.get_secret_value() if password else "")

    def reloading(self, renew: Callable[[], None]) -> Callable[[Config], None]:
        """What takes up a new configuration, and has who shows the credentials ``renew`` them."""

        def reload(config: Config) -> None:
            before, self.config = self.config, config
            try:
                renew()
            except (OSError, ValueError):
                self.config = before
                raise

        return reload


def druid_tls(config: Config) -> LiveContext | None:
    """TLS towards Druid; None where it is not spoken to over TLS. Raises `TlsUnusable`."""
    druid = config.druid
    if config.warehouse != "druid" or not druid.url.lower().startswith("https:"):
        return None
    pair = None
    if druid.tls_cert_file is not None and druid.tls_key_file is not None:
        pair = KeyPair("druid", druid.tls_cert_file, druid.tls_key_file)
    return client_tls(druid.tls_ca_file, pair)


def make_warehouse(
    config: Config,
    own_url: str,
    secret: bytes,
    authorization: Authorization,
    tls: LiveContext | None,
) -> Warehouse:
    """The warehouse that the configuration names.

    ``own_url`` is where Druid's workers fetch batches, ``secret`` makes the URLs of these.
    ``authorization`` and ``tls`` are what Druid is shown.
    """
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
            fetch_expiry_s=config.druid.fetch_expiry_s,
            authorization=authorization,
            tls=tls,
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
        origins=Origins(frozenset(config.http.cors_origins)),
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


def access_settings(config: Config) -> AccessSettings:
    """Of the access room. Without any, everybody may do everything."""
    access = config.access
    return AccessSettings(
        users_file=access.users_file,
        tokens_file=access.tokens_file,
        jwt=None if access.jwt is None else JwtSettings(**access.jwt.model_dump()),
        certificate_principal=access.certificate_principal,
        rules=tuple(Rule(**rule.model_dump()) for rule in access.rules),
        limits=tuple(Limit(**limit.model_dump()) for limit in access.limits),
        audit_file=access.audit_file,
    )


def admin_limits(config: Config) -> AdminLimits:
    """Of the admin port."""
    return AdminLimits(
        body_bytes=config.http.body_limit_bytes, row_bytes=config.http.row_limit_bytes
    )
