"""The front door: sockets, routes, the two stream shells, drain.

Owns: connections, streams, flow control, deadlines, and the line between an error that is a status
and one that is a row. Must never know: how rows are stored, where results come from, SQL.

`connection` is our HTTP/2 connection (`inbound`, `table`, `wire`, `lanes`, `output`, `credit`).
`inserts` and `queries` are the stream shells: they drive the machines of `protocol` and know no
transport. `app` puts them, and every ordinary endpoint, behind Quart (`stream_routes`, `endpoints`,
`websocket`; `doors` says where they lead to); `server` runs it on Hypercorn. `admin` is another
application on a port of its own (`callers` says who may speak to it, `dead_letters`).
"""
