"""Every section and every key of the configuration, with its unit in its name.

A key's docstring is its entry in the reference (`deploy/configuration.md`, generated). Where keys
contradict one another the models say so; how values get here is `gateway.config.loading`.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.seams import AckLevel, Right

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

Bytes = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HttpConfig(_Section):
    """The front door."""

    host: str = "127.0.0.1"
    port: Port = 8088
    body_limit_bytes: Bytes = 10 * MIB
    """bodies that are read whole (all but inserts)"""
    row_limit_bytes: Bytes = 1_000_000
    stream_budget_bytes: Bytes = 512 * KIB
    """rows of one insert stream that are not on disk yet; past it the stream is not read"""
    lanes: bool = True
    """our own HTTP/2 connection; false: Hypercorn's, to bisect and to compare"""
    streams_max: Count = 1000
    """open streams on one connection"""
    stream_window_bytes: Bytes = 512 * KIB
    """what a client may send before rows are on disk; a longer row passes all the same"""
    connection_window_bytes: Bytes = 16 * MIB
    overrun_max_bytes: Bytes = 8 * MIB
    """rows that wait on a stream whose sender ignores its window; past it the stream is ended"""
    ping_s: Seconds = 2.0
    """between PINGs while acks or rows are owed"""
    header_s: Seconds = 10.0
    """for the preface, and for a frame or a header block that has begun"""
    idle_s: Seconds = 300.0
    """a connection without streams"""
    drain_s: Seconds = 10.0
    tls_cert_file: Path | None = None
    """PEM, with its chain; with it the port speaks TLS, HTTP/2 by ALPN"""
    tls_key_file: Path | None = None
    tls_client_ca_file: Path | None = None
    """PEM of the authorities whose client certificates are taken (mTLS)"""
    tls_client_auth: Literal["off", "optional", "required"] = "off"
    """whether a client must show a certificate of theirs"""
    cors_origins: tuple[str, ...] = ()
    """pages of these origins may call the front door; none: no CORS header is ever sent"""
    inserts_over_http1: bool = False
    """take insert streams over chunked HTTP/1.1 too, for producers behind proxies that downgrade;
    off, they are refused with 40004 as by ksqlDB"""


class AdminConfig(_Section):
    """The admin port: dead letters, held batches, health. It asks nobody for credentials."""

    host: str = "127.0.0.1"
    port: Port | None = 8089
    """"off" (or None): there is no admin port"""
    names: tuple[str, ...] = ()
    """what a request's Host may say besides loopback names and ``host``"""
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None

    @field_validator("port", mode="before")
    @classmethod
    def _off(cls, port: object) -> object:
        """TOML and the environment have no null."""
        is_off = port is False or (isinstance(port, str) and port.lower() == "off")
        return None if is_off else port


class IngestConfig(_Section):
    """Spool, batches, acks."""

    ack: AckLevel = AckLevel.COMMITTED
    batch_rows_max: Count = 250_000
    batch_bytes_max: Bytes = 64 * MIB
    batch_age_s: Seconds | None = None
    """None: 0.05 s on the embedded warehouse, 1 s on Druid"""
    poll_s: Seconds | None = None
    """between two looks at running tasks; None: 0.01 s embedded, 0.2 s on Druid"""
    retry_s: Seconds = 0.5
    retry_max_s: Seconds = 30.0
    spool_limit_bytes: Bytes = 8 * GIB
    spool_age_limit_s: Seconds = 7 * 24 * 3600.0
    """how long the oldest row may wait for the warehouse before no more rows are taken"""
    stall_s: Seconds = 30.0
    """how long a stream is held back while the spool has no room, before it ends"""
    channels_max: Count = 100_000
    dead_letters_limit_bytes: Bytes = 256 * MIB
    """rows among the open dead letters"""
    bisect_tasks_max: Count = 200
    """tasks that are run to find rows at fault in a batch where the warehouse names no line"""
    retention_s: Annotated[float, Field(ge=0)] = 3600.0
    retention_bytes: Annotated[int, Field(ge=0)] = 256 * MIB
    sweep_s: Seconds = 5.0
    """between two looks for rows past their retention"""


class QueryConfig(_Section):
    """Queries."""

    push_queries_max: Count = 100
    mailbox_rows: Count = 50_000
    mailbox_bytes: Bytes = 1 * MIB
    """what waits in memory for one push query's reader; past it the reader is fed from the spool"""
    slow_reader_s: Seconds = 60.0
    """a push query ends when its reader takes nothing for so long while rows wait"""
    evaluated_bytes: Bytes = 64 * MIB
    """results that are kept for readers who are fed from the spool"""
    task_changes_max: Count = 10_000
    """changes of tasks that HEADRACE_TASKS still tells of"""
    task_changes_bytes: Bytes = 8 * MIB
    """what they take in memory"""
    pull_queries_max: Count = 100
    pull_timeout_s: Annotated[float, Field(ge=0)] = 300.0
    """for a pull query whose request names no timeout; 0: none"""
    pull_rows_max: Count | None = None
    """a result of more rows ends with an error"""


class EmbeddedConfig(_Section):
    """The embedded warehouse."""

    memory_limit_bytes: Bytes = 1 * GIB
    readers: Count = 1


class AccessRule(_Section):
    """Who may do what to which names. What no rule grants is refused."""

    principal: str
    """pattern (``*``, ``?``) over principals' names; without credentials one is ``anonymous``"""
    rights: tuple[Right, ...]
    names: tuple[str, ...] = ("*",)
    """patterns over streams and datasources; ``admin`` looks at no names"""


class AccessLimit(_Section):
    """What one principal may use at once. The first whose pattern fits holds; None: no limit."""

    principal: str = "*"
    streams_max: Count | None = None
    """insert streams that are open"""
    push_queries_max: Count | None = None
    rows_per_s: Count | None = None
    bytes_per_s: Count | None = None


class JwtConfig(_Section):
    """JSON Web Tokens of an issuer whose keys are published as a JWKS."""

    jwks_url: str | None = None
    jwks_file: Path | None = None
    issuer: str | None = None
    audience: str | None = None
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    principal_claim: str = "sub"
    leeway_s: Annotated[float, Field(ge=0)] = 30.0
    refresh_s: Seconds = 300.0
    """between two looks at the keys; an unknown key id looks sooner, at most every 10 s"""


class AccessConfig(_Section):
    """Who is asked for credentials. Without users, tokens, JWT or rules nobody is."""

    users_file: Path | None = None
    """``name:argon2id-hash`` a line, as `headrace access hash-password` writes it"""
    tokens_file: Path | None = None
    """``name:sha256-of-token`` a line, as `headrace access new-token` writes it"""
    jwt: JwtConfig | None = None
    certificate_principal: Literal["cn", "san"] = "cn"
    """what of a client certificate names its principal: the common name, or the first of its DNS
    names, e-mail addresses or URIs"""
    rules: tuple[AccessRule, ...] = ()
    limits: tuple[AccessLimit, ...] = ()
    audit_file: Path | None = None
    """JSON lines, one for each decision; None: they go to the log"""

    @property
    def is_on(self) -> bool:
        """Whether anybody is asked for anything."""
        return bool(self.users_file or self.tokens_file or self.jwt or self.rules or self.limits)


class LogConfig(_Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """auto: for people on a terminal, else JSON lines"""


class TracesConfig(_Section):
    """OpenTelemetry spans, a batch each. Needs the extra ``headrace[traces]``."""

    otlp_url: str | None = None
    """where spans are sent by OTLP over HTTP; None: nowhere"""
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0


class DruidConfig(_Section):
    """The cluster, and how it reaches us."""

    url: str = "http://127.0.0.1:8888"
    """a Router with its management proxy on, or a Broker that also answers for the Overlord"""
    fetch_url: str | None = None
    """where Druid's workers fetch large batches from; None: this gateway's own address"""
    fetch_host: str | None = None
    """where a listener of its own serves them, and nothing else; None: the front door does"""
    fetch_port: Port = 8090
    fetch_expiry_s: Seconds = 24 * 3600.0
    """how long such a URL is good, however long its task takes"""
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    token: SecretStr | None = None
    """bearer token, in the place of a user and password"""
    token_file: Path | None = None
    tls_ca_file: Path | None = None
    """PEM of the authorities that Druid's certificate is checked against; None: the system's"""
    tls_cert_file: Path | None = None
    """PEM of the client certificate that Druid is shown"""
    tls_key_file: Path | None = None
    inline_limit_bytes: Bytes = 256 * KIB


class Config(BaseSettings):
    """Everything."""

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE__",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    data_dir: Path = Path("headrace-data")
    warehouse: Literal["embedded", "druid"] = "embedded"
    http: HttpConfig = HttpConfig()
    admin: AdminConfig = AdminConfig()
    access: AccessConfig = AccessConfig()
    log: LogConfig = LogConfig()
    traces: TracesConfig = TracesConfig()
    ingest: IngestConfig = IngestConfig()
    query: QueryConfig = QueryConfig()
    embedded: EmbeddedConfig = EmbeddedConfig()
    druid: DruidConfig = DruidConfig()

    @model_validator(mode="after")
    def _limits_agree(self) -> Self:
        if (self.http.tls_cert_file is None) != (self.http.tls_key_file is None):
            raise ValueError("http.tls_cert_file and http.tls_key_file go together: set both")
        if self.http.row_limit_bytes > self.ingest.batch_bytes_max:
            raise ValueError(
                "http.row_limit_bytes must not be larger than ingest.batch_bytes_max: "
                "a row must fit into a batch"
            )
        if self.http.stream_window_bytes > self.http.connection_window_bytes:
            raise ValueError(
                "http.stream_window_bytes must not be larger than http.connection_window_bytes: "
                "a stream's window lies within its connection's"
            )
        if self.ingest.batch_bytes_max > self.ingest.spool_limit_bytes:
            raise ValueError(
                "ingest.batch_bytes_max must not be larger than ingest.spool_limit_bytes: "
                "a batch must fit into the spool"
            )
        return self

    @property
    def batch_age_s(self) -> float:
        """How long a row waits for its batch at the most."""
        default = 0.05 if self.warehouse == "embedded" else 1.0
        return self.ingest.batch_age_s or default

    @property
    def poll_s(self) -> float:
        """Between two looks at running tasks."""
        default = 0.01 if self.warehouse == "embedded" else 0.2
        return self.ingest.poll_s or default
