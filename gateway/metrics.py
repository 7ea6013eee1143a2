"""Metrics: every one declared once, here, with its unit and its help."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The gateway's metrics on a registry of their own: two gateways in a process never mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.batches_total = Counter(
            "headrace_batches_total",
            "Batches that reached a final state",
            ["state"],
            registry=self.registry,
        )
        self.batch_rows_total = Counter(
            "headrace_batch_rows_total",
            "Rows of batches that reached a final state",
            ["state"],
            registry=self.registry,
        )
        self.batch_seconds = Histogram(
            "headrace_batch_seconds",
            "From the sealing of a batch to its final state",
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300),
            registry=self.registry,
        )
        self.spool_bytes = Gauge(
            "headrace_spool_bytes", "Bytes of rows in the spool", registry=self.registry
        )
        self.open_inserts = Gauge(
            "headrace_open_insert_streams", "Insert streams that are open", registry=self.registry
        )
        self.push_queries = Gauge(
            "headrace_push_queries", "Push queries that run", registry=self.registry
        )
