"""Which streams exist, what their columns are, and how they map onto datasources.

Owns: the declared streams and tables, in one JSON file that outlives the process; the look-up of a
target by ksqlDB's rules of naming; the discovery of datasources that were never declared; the
statements of ``/ksql``. Must never know: rows, batches, queries that run, sockets.

Laws:
* what `Catalog.define` or `Catalog.drop` has returned is on disk, and a file is whole: old or new;
* `Source.columns` and its `InsertSpec.columns` have the same length, order and types: the first
  spells names as they were declared, the second as the datasource does;
* an unknown name costs the warehouse at most one question in `discovery.NAMES_FRESH_S`;
* the statuses of commands are bounded in number; they do not outlive the process.

Rows, tasks and plans are others' business: `statements` reaches them through the callables of
`outside`, which the runtime hands over.

Read in this order: `definition`, `values` (pure), `store`, `discovery`, `catalog`, `outside`,
`commands`, `claims`, `plans`, `statements`.
"""
