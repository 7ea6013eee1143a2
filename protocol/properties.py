"""Properties that ksqlDB's clients set and ask for: which names mean something, and their defaults.

Owns: `is_known_property` (``/is_valid_property/<name>``), and what LIST PROPERTIES shows of
ksqlDB's own. Must never know: the gateway's configuration. Ruling 6 of the design: what is not
known is accepted and ignored wherever a request carries it; this is for clients that ask first.

Source: ksqlDB's server configuration reference, Kafka's client and streams configurations.
"""

from collections.abc import Mapping
from types import MappingProxyType

DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        "ksql.assert.topic.default.timeout.ms": "1000",
        "ksql.insert.into.values.enabled": "true",
        "ksql.lambdas.enabled": "false",
        "ksql.persistence.default.format.key": "KAFKA",
        "ksql.persistence.default.format.value": "JSON",
        "ksql.query.pull.enable": "true",
        "ksql.query.pull.stream.enabled": "true",
        "ksql.query.pull.table.scan.enabled": "true",
        "ksql.streams.auto.offset.reset": "latest",
        "ksql.variable.substitution.enable": "true",
    }
)
"""ksqlDB's properties with the values that describe this gateway."""

HEADRACE = frozenset(
    {
        "headrace.ack",
        "headrace.channel",
        "headrace.engine",
        "headrace.frames",
        "headrace.offset",
        "headrace.on_error",
        "headrace.push.at",
        "headrace.query.timeout_ms",
    }
)
"""This gateway's own properties of a request. Those that reach the warehouse are not among them:
the query room knows their names."""

_PREFIXES = ("ksql.", "confluent.")
"""A name below these is known without the names of the clients behind it."""

_CLIENTS = ("consumer.", "producer.", "admin.", "main.consumer.", "restore.consumer.")
"""Prefixes that ksqlDB and Kafka Streams put before a client's own property."""

_KAFKA_NAMES = """
acks allow.auto.create.topics application.id application.server auto.commit.interval.ms
auto.include.jmx.reporter auto.offset.reset batch.size bootstrap.servers buffer.memory
buffered.records.per.partition built.in.metrics.version cache.max.bytes.buffering check.crcs
client.dns.lookup client.id client.rack commit.interval.ms compression.type
connections.max.idle.ms default.api.timeout.ms default.deserialization.exception.handler
default.key.serde default.production.exception.handler default.timestamp.extractor
default.value.serde delivery.timeout.ms enable.auto.commit enable.idempotence
exclude.internal.topics fetch.max.bytes fetch.max.wait.ms fetch.min.bytes group.id
group.instance.id heartbeat.interval.ms interceptor.classes isolation.level key.deserializer
key.serializer linger.ms max.block.ms max.in.flight.requests.per.connection
max.partition.fetch.bytes max.poll.interval.ms max.poll.records max.request.size max.task.idle.ms
max.warmup.replicas metadata.max.age.ms metadata.max.idle.ms metric.reporters metrics.num.samples
metrics.recording.level metrics.sample.window.ms num.standby.replicas num.stream.threads
partition.assignment.strategy partitioner.class poll.ms probing.rebalance.interval.ms
processing.guarantee receive.buffer.bytes reconnect.backoff.max.ms reconnect.backoff.ms
replication.factor request.timeout.ms retries retry.backoff.ms rocksdb.config.setter
sasl.jaas.config sasl.mechanism security.protocol security.providers send.buffer.bytes
session.timeout.ms ssl.cipher.suites ssl.enabled.protocols ssl.endpoint.identification.algorithm
ssl.key.password ssl.keystore.location ssl.keystore.password ssl.keystore.type ssl.protocol
ssl.provider ssl.truststore.location ssl.truststore.password ssl.truststore.type
state.cleanup.delay.ms state.dir statestore.cache.max.bytes task.timeout.ms topology.optimization
transaction.timeout.ms transactional.id upgrade.from value.deserializer value.serializer
windowstore.changelog.additional.retention.ms
"""
_KAFKA = frozenset(_KAFKA_NAMES.split())


def is_known_property(name: str) -> bool:
    """Whether ``name`` can be set: a property of ksqlDB, of this gateway, or of Kafka's clients.

    Names are case-sensitive, as in ksqlDB.
    """
    if name.startswith(_PREFIXES):
        return len(name) > len(name.split(".", 1)[0]) + 1
    for prefix in _CLIENTS:
        if name.startswith(prefix):
            return name.removeprefix(prefix) in _KAFKA
    return name in HEADRACE or name in _KAFKA
