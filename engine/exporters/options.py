"""What whoever exports a character may choose of the file."""

from dataclasses import dataclass
from typing import Literal

from engine.errors import LikenessError

Naming = Literal["vrm", "mixamo"]
Targets = Literal["all", "faces"]

LODS = (0, 1, 2)
TEXTURES = (512, 1024, 2048)
AVATAR = "character"
"""The name that a .vrm has where nothing else names it."""
UNKNOWN_AUTHOR = "unknown"
"""VRM wants an author; whoever does not say is none."""


@dataclass(frozen=True)
class ExportOptions:
    """lod: 0 rounded, 1 as the engine has it, 2 a third of that; texture: pixels of a side of the skin's pictures;
    targets: sliders and face shapes, or face shapes alone; bones: whose names they have.

    Raises LikenessError for a level or a size that there is not.
    """

    lod: int = 1
    texture: int = 512
    targets: Targets = "all"
    bones: Naming = "vrm"

    def __post_init__(self) -> None:
        for name, value, allowed in (("lod", self.lod, LODS), ("texture", self.texture, TEXTURES)):
            if value not in allowed:
                raise LikenessError(f"{name} is one of {', '.join(map(str, allowed))}, not {value}")


DEFAULTS = ExportOptions()
