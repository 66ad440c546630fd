"""Every kernel compiles for the GPUs that studios have, without one: to PTX, as Warp does at its first launch there."""

from pathlib import Path
from types import ModuleType

import pytest
import warp as wp

from engine.kernels import pose, shade, skin, visibility

ARCHITECTURES = (80, 90)
"""Ampere (A100) and Hopper (H100, H200)."""


@pytest.mark.parametrize("module", [pose, shade, skin, visibility], ids=lambda module: module.__name__)
def test_a_module_of_kernels_compiles_to_ptx(module: ModuleType, tmp_path: Path) -> None:
    found = wp.compile_aot_module(module, arch=ARCHITECTURES, module_dir=tmp_path, use_ptx=True)
    made = [path for path in found if path.suffix == ".ptx"]
    assert len(made) == len(ARCHITECTURES)
    names = [kernel.key for kernel in wp.get_module(module.__name__).kernels.values()]
    assert names
    for path, architecture in zip(sorted(made), ARCHITECTURES, strict=True):
        text = path.read_text()
        assert f".target sm_{architecture}" in text
        assert all(name in text for name in names)
