"""Pictures and files of a character, and all that a client needs to draw it itself.

service.py             who asks, in which order; the process that holds the engine is started, asked and started again
worker.py              that process' own side
character_renderer.py  what it can draw of a character; embedded_renderer.py: of one with the embedded engine
schema_document.py     the document of `/v1/schema`: sliders, groups, and where a client finds geometry and pictures
disk_cache.py          drawn bytes on disk, for the next request and the next start
routes.py              `/v1/schema` and `/v1/figure/…`
"""
