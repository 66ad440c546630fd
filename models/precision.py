"""What networks multiply in while they read photos."""

from __future__ import annotations

from typing import Any, Literal

Precision = Literal["float32", "bfloat16"]
Wanted = Literal["auto", "float32"]
"""auto: bfloat16 on a CPU with instructions for it."""
INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
"""By which an x86 processor multiplies bfloat16; without them it is slower than single precision."""


def best_precision() -> Precision:
    """What this machine's processor reads photos fastest in."""
    import torch  # slow to import; who only names a setting does not need it

    known = torch.cpu.get_capabilities()
    fast = any(known.get(name, False) for name in INSTRUCTIONS)
    return "bfloat16" if fast and torch.backends.mkldnn.is_available() else "float32"


def read_in(predictor: Any, wanted: Wanted) -> None:
    """Have a registered model's predictor read as is wanted. Versions that were registered before there was a choice
    read in float32.
    """
    if wanted == "auto" and hasattr(predictor, "read_fast"):
        predictor.read_fast()
