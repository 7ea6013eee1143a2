"""SQL for DuckDB: Druid's SELECT for the embedded warehouse, ksqlDB's for push queries.

A leaf: it knows the seams and the protocol's types, sqlglot and DuckDB, and no room. Nothing here
knows where tables are kept, what a stream is, or who asks.

Laws:
1. Allow-list. A function, clause or operator that no table holds is refused by its name
   (`gateway.seams.QueryRefused`); text of a user reaches DuckDB as quoted names, string literals
   and numbers, and as nothing else.
2. Druid's meaning, where DuckDB's differs: whole division, CAST towards zero, nulls lowest,
   ``CONCAT`` null with a null, names with their case.
3. Only exceptions that the seams declare come out.

| module | |
| --- | --- |
| ``dialects`` | text → trees |
| ``expressions``, ``select`` | trees → DuckDB text |
| ``calls``, ``casts``, ``*_functions``, ``aggregates``, ``periods`` | what functions mean |
| ``names``, ``duck_types``, ``duck`` | DuckDB's names, types, settings and complaints |
| ``rowfile``, ``typed_rows`` | spooled rows → a relation |
| ``lines`` | a relation → JSON lines |
| ``reads`` | which names a statement reads and writes |
| ``push``, ``evaluator`` | standing queries over batches |
"""

from gateway.sql.evaluator import PushEvaluator
from gateway.sql.push import PushQuery, compile_push
from gateway.sql.reads import TaskNames, names_read, task_names
from gateway.sql.select import translate

__all__ = [
    "PushEvaluator",
    "PushQuery",
    "TaskNames",
    "compile_push",
    "names_read",
    "task_names",
    "translate",
]
