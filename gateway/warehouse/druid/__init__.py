"""The Druid warehouse: rows live in an Apache Druid cluster, 27.0.0 or newer.

What it owns: the SQL that inserts a batch, what Druid's replies mean, the connections to Broker,
Overlord and Coordinator, the bytes of batches that Druid fetches, and the task slots that its own
tasks take. What it must never know: HTTP/2, acks, the spool, streams and their statements. The
HTTP route that serves a batch lives in the front door and asks `StagedBatches.find`.

Pure parts: `sql` (text out), `replies`, `errors` and `slots` (bytes in, values out). Shells:
`transport`, `staging`, `gate`, `tasks`, `reading`, `schema`, `warehouse`.

Laws:

1. One attempt is one ``sqlQueryId``; Druid accepts an id once, so a submission whose reply was
   lost can be asked again and never runs twice.
2. No more batches in flight than ``floor(free slots / 2)``, what others run counted: MSQ takes a
   controller and a worker for each, and controllers that fill all slots wait for ever.
3. A count of 0 is said only after Druid's metadata confirmed it: a Broker that has not heard of a
   datasource or a column proves nothing.
4. A result is complete only if Druid's closing empty line was read.
5. An answer that means nothing is `WarehouseUnreachable`, never a guess.
"""
