"""A gateway with a secret in it, and pam, who may read PUBLIC and OPEN and nothing else.

PUBLIC is a stream over ``public_ds``; OPEN is a datasource by that name; the datasource ``secret``
is behind the stream HIDDEN, of which pam knows nothing. olga may do everything.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.gateways import GatewayProcess, gateway_process
from tests.guarded import ask1, ask2, bearer, shown
from tests.hostile_selects import MARK
from tests.server.ksqldb import Reply

_CONFIG = """
[access]
tokens_file = "{folder}/tokens"
audit_file = "{folder}/audit.jsonl"

[[access.rules]]
principal = "pam"
rights = ["query"]
names = ["PUBLIC", "OPEN"]

[[access.rules]]
principal = "olga"
rights = ["insert", "query", "define", "admin"]
"""
_SET_UP = (
    "CREATE STREAM PUBLIC (ID INT, S STRING) WITH (kafka_topic='public_ds', ack='queryable');",
    "CREATE STREAM OPENED (ID INT, S STRING) WITH (kafka_topic='OPEN', ack='queryable');",
    "CREATE STREAM HIDDEN (ID INT, S STRING) WITH (kafka_topic='secret', ack='queryable');",
    "INSERT INTO PUBLIC (ID, S) VALUES (1, 'open');",
    "INSERT INTO OPENED (ID, S) VALUES (1, 'open too');",
    f"INSERT INTO HIDDEN (ID, S) VALUES (1, '{MARK}');",
)

GOOD = {
    "SELECT * FROM PUBLIC": [1, "open"],
    "SELECT S FROM public": ["open"],
    'SELECT S FROM "OPEN"': ["open too"],
    'SELECT a.S, b.S FROM PUBLIC a JOIN "OPEN" b ON a.ID = b.ID': ["open", "open too"],
    "WITH q AS (SELECT S FROM PUBLIC) SELECT S FROM q": ["open"],
    "SELECT COUNT(DISTINCT S) FROM PUBLIC WHERE S <> 'x' /* FROM secret */": [1],
    "SELECT 'FROM secret' FROM PUBLIC -- FROM secret": ["FROM secret"],
    "SELECT TRIM(BOTH 'o' FROM S) FROM PUBLIC GROUP BY 1 ORDER BY 1 LIMIT 5": ["pen"],
    "SELECT S FROM PUBLIC UNION ALL SELECT S FROM PUBLIC LIMIT 1": ["open"],
}
"""SELECTs of what pam may read, and their first rows."""


@contextlib.contextmanager
def secret_world(folder: Path, **options: Any) -> Iterator[GatewayProcess]:
    """Such a gateway, up for the block; ``options`` as for `gateway_process`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (f"{name}:{hashlib.sha256(_token(name)).hexdigest()}\n" for name in ("pam", "olga"))
    (folder / "tokens").write_text("".join(lines))
    (folder / "config.toml").write_text(_CONFIG.replace("{folder}", str(folder)))
    arguments = ["--config", str(folder / "config.toml"), *options.pop("arguments", ())]
    with gateway_process(folder / "data", arguments=arguments, **options) as running:
        for text in _SET_UP:
            body = json.dumps({"ksql": text}).encode()
            reply = ask2(running.address, "POST", "/ksql", body, shown(_as("olga")))
            assert reply.status == 200, reply.body
        yield running


def selected(gateway: GatewayProcess, sql: str, name: str = "pam", **properties: Any) -> Reply:
    """What somebody is answered to a SELECT."""
    body = json.dumps({"sql": sql, "properties": properties}).encode()
    return ask1(gateway.address, "POST", "/query-stream", body, shown(_as(name)))


def first_row(reply: Reply) -> Any:
    """Of a result."""
    assert reply.status == 200, reply.body
    return json.loads(reply.body.splitlines()[1])


def _token(name: str) -> bytes:
    return f"hrt_{name}_of_this_test".encode()


def _as(name: str) -> str:
    return bearer(_token(name).decode())
