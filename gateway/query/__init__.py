"""Rows coming up: pull queries, push queries, and the registry that closes them.

Owns: what a query text becomes, a query's life from its header to its end, the limit on live push
queries. Must never know: HTTP, how a warehouse answers, how the spool keeps its log.

`service` decides what a text is and starts it; `pull` passes a warehouse's result on with declared
types; `push` follows the commit log, `evaluations` shares one evaluation of a batch among all that
ask the same; `registry` knows who is live.
"""
