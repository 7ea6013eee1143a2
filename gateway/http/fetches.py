"""A listener of its own for batches that Druid's workers fetch; it serves nothing else.

For networks in which workers must not reach the front door, or where the front door asks for client
certificates, which a worker has none of. The URL is all that is asked for: see `batches`.
"""

from quart import Quart

from gateway.http.app import bare_app
from gateway.http.batches import BatchFetches, add_batch_route


def make_fetch_app(fetches: BatchFetches | None) -> Quart:
    """The application with that one route; without it where no batch is fetched."""
    app = bare_app("headrace.fetches")
    if fetches is not None:
        add_batch_route(app, fetches)
    return app
