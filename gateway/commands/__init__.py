"""Commands for the operator of a gateway: one file a group, mounted by `gateway.cli`.

They speak to the gateway's admin port, but for ``spool``, which reads the file itself. Standard
output is for what was asked for: a table on a terminal, lines of tab-separated fields elsewhere,
JSON lines with ``--json``. Standard error is for what went wrong. Exit codes:
`gateway.commands.failures`.
"""
