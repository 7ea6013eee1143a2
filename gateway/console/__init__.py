"""The live page on the admin port: what the gateway does now, for a person who looks at it.

Owns: the page, its one stream of server-sent events, and the picture of the gateway that both show.
Must never know: how rooms work. It is handed callables that say what there is.
"""
