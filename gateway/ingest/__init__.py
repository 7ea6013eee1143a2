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

| module | |
| --- | --- |
| ``spool``, ``layout``, ``entries``, ``reader`` | the file: how it is written, made, named, read |
| ``channel_table``, ``letter_table`` | parts of the file: channels, dead letters |
| ``writer``, ``records`` | one thread, one transaction for all who wait |
| ``intake``, ``intake_stream``, ``channels``, ``capacity`` | a stream's way in, and when it waits |
| ``receipts`` | who waits for which rows |
| ``policy``, ``batches`` | pure: when rows become a batch; the life of one as a table |
| ``carrier``, ``cutting``, ``settler``, ``turns`` | one batch: its way, its bad rows, its end |
| ``committer``, ``reach``, ``parts`` | all batches; whether the warehouse answers |
| ``operator``, ``dead_letters``, ``inspection`` | what a person looks at and decides |
| ``log``, ``task_log``, ``task_reports`` | what push queries read |
| ``upkeep``, ``ingest_room`` | what the clock does; the room put together |
"""
