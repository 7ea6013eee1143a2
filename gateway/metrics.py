"""Every metric of the gateway, declared once, with its name, its unit and its labels.

Rooms are handed a `Metrics` at construction and count what they do; what is only known by looking
is read when somebody scrapes. Names are a promise: dashboards and alerts in `deploy/` use them.
"""
