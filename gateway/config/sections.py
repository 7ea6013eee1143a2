"""Every section and every key of the configuration, with its unit in its name.

A key's docstring is its entry in the reference (`deploy/configuration.md`, generated). Where keys
contradict one another the models say so; how values get here is `gateway.config.loading`.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.config.contradictions import Contradictory, contradictions
from gateway.config.safety import without_userinfo
from gateway.config.secrets import read_secret
from gateway.config.units import (
    GIB,
    KIB,
    MIB,
    Bytes,
    BytesFromZero,
    Count,
    Port,
    Ratio,
    Seconds,
    SecondsFromZero,
    WindowBytes,
)
from gateway.seams import AckLevel, Right


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _said(cls, value: object, info: ValidationInfo) -> object:
        """An empty path would be the current folder."""
        if value == "" and "Path" in str(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError("is empty: give a path, or leave the key out")
        return value


class HttpConfig(_Section):
    """The front door."""

    host: str = "127.0.0.1"
    """address to listen on"""
    port: Port = 8088
    """0: a free one, which the ready line names"""
    body_limit_bytes: Bytes = 10 * MIB
    """bodies that are read whole (all but inserts)"""
    row_limit_bytes: Bytes = 1_000_000
    """the longest row that is taken"""
    stream_budget_bytes: Bytes = 512 * KIB
    """rows of one insert stream that are not on disk yet; past it the stream is not read"""
    lanes: bool = True
    """our own HTTP/2 connection; false: Hypercorn's, to bisect and to compare"""
    connections_max: Count = 1000
    """open connections; past it new ones are closed at once"""
    streams_max: Count = 1000
    """open streams on one connection"""
    stream_window_bytes: WindowBytes = 512 * KIB
    """what a client may send before rows are on disk; a longer row passes all the same"""
    connection_window_bytes: WindowBytes = 16 * MIB
    """what all streams of one connection may send before rows are on disk"""
    overrun_max_bytes: Bytes = 8 * MIB
    """rows that wait on a stream whose sender ignores its window; past it the stream is ended"""
    ping_s: Seconds = 2.0
    """between PINGs while acks or rows are owed"""
    header_s: Seconds = 10.0
    """for the preface, and for a frame or a header block that has begun"""
    idle_s: Seconds = 300.0
    """a connection without streams"""
    drain_s: Seconds = 10.0
    """for the last acks of open streams after SIGTERM; what is on disk by then is safe"""
    tls_cert_file: Path | None = None
    """PEM, with its chain; with it the port speaks TLS, HTTP/2 by ALPN"""
    tls_key_file: Path | None = None
    """PEM of its key"""
    tls_client_ca_file: Path | None = None
    """PEM of the authorities whose client certificates are taken (mTLS)"""
    tls_client_auth: Literal["off", "optional", "required"] = "off"
    """whether a client must show a certificate of theirs"""
    cors_origins: tuple[str, ...] = ()
    """pages of these origins may call the front door (``"https://app.example.com"``, each in full;
    one that a proxy serves under the gateway's own name too); none: no CORS header is ever sent"""
    inserts_over_http1: bool = False
    """take insert streams over chunked HTTP/1.1 too, for producers behind proxies that downgrade;
    off, they are refused with 40004 as by ksqlDB"""


class AdminConfig(_Section):
    """The admin port: dead letters, held batches, health. Where anybody is asked for credentials,
    it asks for the right ``admin``."""

    host: str = "127.0.0.1"
    """address to listen on; more than the loopback needs credentials or a network of trust"""
    port: Port | None = 8089
    """"off" (or None): there is no admin port"""
    names: tuple[str, ...] = ()
    """what a request's Host may say besides loopback names and ``host``"""
    tls_cert_file: Path | None = None
    """PEM, with its chain; with it the admin port speaks TLS"""
    tls_key_file: Path | None = None
    """PEM of its key"""

    @field_validator("port", mode="before")
    @classmethod
    def _off(cls, port: object) -> object:
        """TOML and the environment have no null."""
        is_off = port is False or (isinstance(port, str) and port.lower() == "off")
        return None if is_off else port


class IngestConfig(_Section):
    """Spool, batches, acks."""

    ack: AckLevel = AckLevel.COMMITTED
    """when a row is acknowledged where neither stream nor request says: on disk, in a published
    segment, or loaded"""
    batch_rows_max: Count = 250_000
    """a batch of so many rows is full"""
    batch_bytes_max: Bytes = 64 * MIB
    """a batch of so many bytes is full"""
    batch_age_s: Seconds | None = None
    """how long a row waits for its batch to fill; None: 0.05 s on the embedded warehouse, 1 s on
    Druid"""
    poll_s: Seconds | None = None
    """between two looks at running tasks; None: 0.01 s embedded, 0.2 s on Druid"""
    retry_s: Seconds = 0.5
    """the first pause before a failed batch is tried again; it doubles"""
    retry_max_s: Seconds = 30.0
    """the longest such pause"""
    spool_limit_bytes: Bytes = 8 * GIB
    """rows on disk, committed ones within their retention too; past it streams are held back"""
    spool_age_limit_s: Seconds = 7 * 24 * 3600.0
    """how long the oldest row may wait for the warehouse before no more rows are taken"""
    stall_s: Seconds = 30.0
    """how long a stream is held back while the spool has no room, before it ends"""
    channels_max: Count = 100_000
    """channels whose offsets are remembered"""
    dead_letters_limit_bytes: Bytes = 256 * MIB
    """rows among the open dead letters"""
    bisect_tasks_max: Count = 200
    """tasks that are run to find rows at fault in a batch where the warehouse names no line"""
    retention_s: SecondsFromZero = 3600.0
    """how long committed rows stay for push queries"""
    retention_bytes: BytesFromZero = 256 * MIB
    """and up to how many bytes of them"""
    sweep_s: Seconds = 5.0
    """between two looks for rows past their retention"""


class QueryConfig(_Section):
    """Queries."""

    push_queries_max: Count = 100
    """push queries that are live at once"""
    mailbox_rows: Count = 50_000
    """rows that wait in memory for one push query's reader"""
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
    """pull queries that run at once"""
    pull_timeout_s: SecondsFromZero = 300.0
    """for a pull query whose request names no timeout; 0: none"""
    pull_rows_max: Count | None = None
    """a result of more rows ends with an error"""


class EmbeddedConfig(_Section):
    """The embedded warehouse."""

    memory_limit_bytes: Bytes = 1 * GIB
    """what DuckDB may take"""
    readers: Count = 1
    """pull queries that are computed at once"""


class AccessRule(_Section):
    """Who may do what to which names. What no rule grants is refused."""

    principal: str
    """pattern (``*``, ``?``) over principals' names; only ``anonymous``, spelt out, is for those
    who show no credentials"""
    rights: tuple[Right, ...]
    """what they may do"""
    names: tuple[str, ...] = ("*",)
    """patterns over streams and datasources; tables of the warehouse's own schemas (``sys.*``) and
    HEADRACE_TASKS only where they are spelt, or by ``*``; ``admin`` looks at no names"""


class AccessLimit(_Section):
    """What one principal may use at once. The first whose pattern fits holds; None: no limit."""

    principal: str = "*"
    """pattern over principals' names"""
    streams_max: Count | None = None
    """insert streams that are open"""
    push_queries_max: Count | None = None
    """push queries that are live"""
    rows_per_s: Count | None = None
    """rows of all its insert streams; past it their windows close for a while"""
    bytes_per_s: Bytes | None = None
    """bytes of them, as rows_per_s"""


class JwtConfig(_Section):
    """JSON Web Tokens of an issuer whose keys are published as a JWKS."""

    jwks_url: str | None = None
    """where the keys are published; this or ``jwks_file``"""
    jwks_file: Path | None = None
    """the keys as a file"""
    issuer: str | None = None
    """what ``iss`` must be; None: it is not looked at"""
    audience: str | None = None
    """what ``aud`` must hold; None: it is not looked at"""
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    """signatures that are taken"""
    principal_claim: str = "sub"
    """the claim that names the principal"""
    leeway_s: SecondsFromZero = 30.0
    """how far clocks may differ where a token begins or expires"""
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
        return bool(self.users_file or self.tokens_file or self.jwt or self.rules)


class LogConfig(_Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """the least that is told"""
    format: Literal["auto", "json", "console"] = "auto"
    """auto: for people on a terminal, else JSON lines"""


class TracesConfig(_Section):
    """OpenTelemetry spans, a batch each. Needs the extra ``headrace[traces]``."""

    otlp_url: str | None = None
    """where spans are sent by OTLP over HTTP; None: nowhere"""
    sample_ratio: Ratio = 1.0
    """the share of batches that are traced"""


class DruidConfig(_Section):
    """The cluster, and how it reaches us."""

    url: str = "http://127.0.0.1:8888"
    """a Router with its management proxy on, or a Broker that also answers for the Overlord. A
    user and password in it are taken out and used as ``username`` and ``password``"""
    fetch_url: str | None = None
    """where Druid's workers fetch large batches from; None: this gateway's own address"""
    fetch_host: str | None = None
    """where a listener of its own serves them, and nothing else; None: the front door does"""
    fetch_port: Port = 8090
    """that listener's port; 0: a free one"""
    fetch_tls: bool | None = None
    """whether that listener shows the front door's certificate, which Druid's workers must trust
    then; None: if the front door does. It asks nobody for one"""
    fetch_expiry_s: Seconds = 24 * 3600.0
    """how long such a URL is good, however long its task takes; it dies with its task anyway"""
    username: str | None = None
    """for Basic authentication towards Druid"""
    password: SecretStr | None = None
    """better in a file: ``password_file``"""
    password_file: Path | None = None
    """a file with the password; one newline at its end is left out"""
    token: SecretStr | None = None
    """bearer token, in the place of a user and password; better in a file: ``token_file``"""
    token_file: Path | None = None
    """a file with the token; one newline at its end is left out"""
    tls_ca_file: Path | None = None
    """PEM of the authorities that Druid's certificate is checked against; None: the system's"""
    tls_cert_file: Path | None = None
    """PEM of the client certificate that Druid is shown"""
    tls_key_file: Path | None = None
    """PEM of its key"""
    inline_limit_bytes: Bytes = 256 * KIB
    """a batch up to this size travels in its task; a larger one is fetched"""

    @model_validator(mode="before")
    @classmethod
    def _no_userinfo_in_the_url(cls, values: object) -> object:
        return without_userinfo(values) if isinstance(values, dict) else values

    def secret_password(self) -> SecretStr | None:
        """The password, from its key or its file, read now. Raises `ConfigError`."""
        if self.password_file is not None:
            return read_secret(self.password_file, "druid.password_file")
        return self.password

    def secret_token(self) -> SecretStr | None:
        """The bearer token, from its key or its file, read now. Raises `ConfigError`."""
        if self.token_file is not None:
            return read_secret(self.token_file, "druid.token_file")
        return self.token


class Config(_Section):
    """Everything."""

    data_dir: Path = Path("headrace-data")
    """folder of the spool, the catalogue and the embedded data; one gateway at a time"""
    warehouse: Literal["embedded", "druid"] = "embedded"
    """where rows go"""
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
    def _agrees(self) -> Self:
        if sentences := contradictions(self):
            raise Contradictory(sentences)
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
