"""The live page on the admin port: what the gateway does now, for a person who looks at it.

Owns: the page, its one stream of server-sent events, and the picture of the gateway that both show.
Must never know: how rooms work. It is handed callables that say what there is.

``doors`` what it is handed · ``rates`` counters over time · ``tasks`` how tasks go · ``picture``
one document of all · ``viewers`` that document once a second to whoever looks · ``queries`` the
query box · ``files`` what a browser loads · ``room`` all of it, as routes of the admin port

Laws:
1. Nobody looks: nothing is read but a handful of counters, once a second.
2. However many look, one picture is made a second; who is slow gets the newest, never a queue.
3. A picture is bounded: so many of each kind of thing, so many characters of each text.
"""
