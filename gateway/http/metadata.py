"""What a server tells of itself to ksqlDB's tools: its place in a cluster, its identity.

One gateway is a cluster of one: it is alive, it holds no state stores and lags behind nobody.
Shapes: ksqlDB API, ``/clusterStatus`` and ``/v1/metadata``; facts in the protocol notes §1.2.
"""

from collections.abc import Mapping
from typing import Any


def server_info(info: Mapping[str, Any]) -> dict[str, Any]:
    """``/info``."""
    return {"KsqlServerInfo": dict(info)}


def metadata(info: Mapping[str, Any]) -> dict[str, Any]:
    """``/v1/metadata``."""
    return {"version": info["version"], "clusterId": cluster_id(info)}


def cluster_id(info: Mapping[str, Any]) -> dict[str, Any]:
    """``/v1/metadata/id``."""
    clusters = {"kafka-cluster": info["kafkaClusterId"], "ksql-cluster": info["ksqlServiceId"]}
    return {"scope": {"path": [], "clusters": clusters}, "id": ""}


def cluster_status(host: str, now_ms: int) -> dict[str, Any]:
    """``/clusterStatus`` of the server that was asked as ``host`` (with its port)."""
    status = {
        "hostAlive": True,
        "lastStatusUpdateMs": now_ms,
        "activeStandbyPerQuery": {},
        "hostStoreLags": {"stateStoreLags": {}, "updateTimeMs": now_ms},
    }
    return {"clusterStatus": {host: status}}
