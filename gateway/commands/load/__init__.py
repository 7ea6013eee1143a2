"""How a file becomes rows of a stream: what stands behind `headrace insert`.

Read in this order: `chunks` (bytes of a file or pipe, gzip or not), `blocks` (NDJSON, cut at line
ends), `records` and `values` (CSV), `readahead` (a thread reads, the event loop sends), `flight`
(what is on its way), `rejected`, `progress`, `loading` (all of it together).

Law: work is done per block, never per row, wherever the input's format allows it.
"""
