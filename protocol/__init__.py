"""What the wire says: ksqlDB's streaming protocol as pure functions and state machines.

Owns: bytes in, events out; intents in, bytes out. Every state machine is a table.
Must never know: a clock, a socket, a thread, a log, a warehouse.
Imports the standard library, orjson and msgspec only (checked by import-linter).

Read in this order. Rows going down: `errors`, `types`, `coercion`, `rows`, `framing`, `acks`,
`inserts`, `frames`. Rows coming up: `queries`, `query_text`, `scopes`, `bindings`, `names`.
Statements: `lexer`, `variables`, `vocabulary`, `reader`, `statements`, `entities`.
"""
