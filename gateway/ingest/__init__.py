"""Rows going down: intake, spool, batch policy, committer.

Owns: a row from the moment it was checked until its batch is final, and the promise that every ack
makes. Must never know: HTTP, SQL of a client, how a warehouse inserts.

::

    intake ──▶ writer thread ──▶ spool (SQLite)          policy seals ranges of the spool
      ▲                                                    │
      └── receipts ◀── committer ◀── batches ◀─────────────┘ one live attempt per batch

Laws (DESIGN §7): no ack below its promised level; a spooled row is in exactly one batch and a
sealed batch never changes; one live attempt per batch, and FAILED is verified before the next;
rows leave the spool only after their batch is final and their retention is over.

Read in this order: `spool`, `writer`, `policy`, `batches`, `receipts`, `intake`, then `content`,
`carrier` (one batch), `settler` (its end), `committer` (all of them), then `log` and `retention`.
"""
