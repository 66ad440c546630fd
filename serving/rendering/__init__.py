"""Pictures and files of a character, and all that a client needs to draw it itself.

process.py     Drawing: the process that holds the engine, as the service sees it
worker.py      that process' own side: requests in, bytes out
artist.py      what it can draw
published.py   the document of `/v1/schema`: sliders, groups, and where a client finds geometry and pictures
kept.py        drawn bytes on disk, for the next request and the next start
routes.py      `/v1/schema` and `/v1/figure/…`
"""

from serving.rendering.errors import Busy, CannotDraw, NoAnswer
from serving.rendering.process import Drawing
from serving.rendering.routes import routes

__all__ = ["Busy", "CannotDraw", "Drawing", "NoAnswer", "routes"]
