"""The composition root: it alone constructs, and it alone knows all rooms.

`rooms` builds and joins them, `running` puts them behind sockets, drains and stops them. `wiring`
turns the configuration into each room's limits. `certificates` holds those of every port;
`readiness` says how the rooms are; `traces` makes spans of what batches tell; `console_doors` is
what the live page is told; `folder` is the data folder, held by one process.
"""
