"""What the machine does: rooms around a pure protocol.

`cli` → `runtime` → `http`, `ingest`, `query`, `catalog`, `warehouse`. The rooms import `protocol`,
`seams` and `sql`, and never each other; `runtime` alone constructs them and hands each
what it needs. A call goes down; what comes up is a return value or a callable given at
construction.
"""
