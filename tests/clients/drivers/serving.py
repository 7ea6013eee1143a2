"""The loop of a driver: one JSON line in is a call, one JSON line out its outcome.

Runs under the client's own interpreter: the standard library only.
"""

import json
import sys
from collections.abc import Callable
from typing import Any


def serve(functions: dict[str, Callable[..., Any]]) -> None:
    """Answer calls until the input ends. What a client prints must not spoil the answers."""
    answers, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps("driver ready"), file=answers, flush=True)
    for line in sys.stdin:
        name, args = json.loads(line)
        print(json.dumps(_outcome(functions[name], args)), file=answers, flush=True)


def _outcome(function: Callable[..., Any], args: list[Any]) -> dict[str, Any]:
    try:
        return {"value": function(*args)}
    except Exception as raised:  # noqa: BLE001 - any fault of the client's is an outcome
        # ksql-python-ng's exceptions keep their text in `msg` only.
        text = str(getattr(raised, "msg", None) or raised)
        return {"raised": [type(raised).__name__, text]}
