"""What became of each thing that a command was for: told one by one, and summed in the exit code.

An outcome is a document with ``id``, ``outcome`` and, where that is ``refused``, ``message``.
"""

from collections.abc import Iterable

from gateway.commands.output import complain, plain, print_json
from gateway.commands.port import Document

REFUSED = "refused"


def tell(outcomes: Iterable[Document], noun: str, *, as_json: bool) -> int:
    """Print each as it comes; the exit code is 1 if any was refused."""
    refused = False
    for outcome in outcomes:
        is_refusal = outcome["outcome"] == REFUSED
        refused |= is_refusal
        if as_json:
            print_json(outcome)
        elif is_refusal:
            complain(f"{noun} {outcome['id']}: {outcome['message']}")
        else:
            print(f"{plain(outcome['id'])}\t{outcome['outcome']}", flush=True)
    return int(refused)
