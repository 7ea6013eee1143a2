"""The embedded warehouse: a DuckDB file behind the `Warehouse` seam, for one machine and for tests.

It owns its file, the folder beside it where rows wait to be read, and the translation's tables.
It must never know of streams, sockets, the spool or HTTP.

Laws:
1. Rows, batch id, task id and row count of a batch are one transaction: a task id that is recorded
   is stored once and whole, and one that is not recorded has left nothing.
2. One thread writes. Batches that wait together may share a transaction; one that fails takes no
   other with it.
3. Nothing that a user writes reaches DuckDB but through `gateway.sql`; and DuckDB is closed to
   files, extensions and settings besides. Either wall stands alone.
4. Reading never waits for writing: a query sees the snapshot at its start.
5. Names keep their case (`gateway.sql.names`), values keep their digits.

One process owns the file. It is not a Druid: `gateway.sql.select` lists the functions it has, and
refuses the others by name.
"""

from gateway.warehouse.embedded.warehouse import EmbeddedWarehouse

__all__ = ["EmbeddedWarehouse"]
