"""Every metric of the gateway, declared once, with its name, its unit and its labels.

Rooms are handed a `Metrics` at construction and count what they do; what is only known by looking
is read when somebody scrapes. Names are a promise: dashboards and alerts in `deploy/` use them.

``declared`` the table · ``counting`` what counts · ``registry`` asking for it, looking, reading ·
``pulse`` the event loop's lag
"""

from gateway.metrics.declared import DECLARED, Declared, Kind, Unit
from gateway.metrics.registry import Look, Metrics, SlowLook, one_of, quantile

__all__ = [
    "DECLARED",
    "Declared",
    "Kind",
    "Look",
    "Metrics",
    "SlowLook",
    "Unit",
    "one_of",
    "quantile",
]
