"""Rows coming up: pull queries, push queries, and the registry that closes them.

Owns: what a query text becomes, a query's life from its header to its end, the limit on live push
queries. Must never know: HTTP, how a warehouse answers, how the spool keeps its log.

| module | |
| --- | --- |
| ``service`` | what a text is, who is live, how a query is closed |
| ``pull``, ``running_pull``, ``options``, ``values`` | a warehouse's result, with declared types |
| ``push_options``, ``start`` | what a push query asks for, and where in the log it begins |
| ``push``, ``mailbox`` | one subscription: what it has, what waits for it, when it ends |
| ``feed``, ``standing`` | one statement over the log for all who ask the same |
| ``evaluations`` | blocks of the log, evaluated off the event loop |
| ``own_streams`` | streams of the gateway's own: ``headrace_tasks`` |
| ``places`` | where in an entry of the log one stands |
"""
