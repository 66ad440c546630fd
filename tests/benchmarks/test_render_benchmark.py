"""The renderer's benchmark: complete phases, documented keys, the same picture from every renderer."""

import importlib
import json
import os
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import warp as wp

from benchmarks import measure, others, render
from benchmarks.mesh import material_meshes
from engine import kernels
from engine.scenes import Scenes

pytestmark = pytest.mark.slow

TINY = render.RenderPlan(
    sizes=(64,), batches=(1,), seconds=0.01, size=64, people=1, paths=1, pairs=20, most_cores=1, renderers=()
)


@pytest.fixture(autouse=True)
def own_cores() -> Iterator[None]:
    """A benchmark keeps to one core; the tests after it shall not."""
    before = measure.cores()
    yield
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, before)


def kernel_modules() -> list[ModuleType]:
    if not hasattr(kernels, "__path__"):
        return [kernels]
    return [importlib.import_module(f"engine.kernels.{found.name}") for found in pkgutil.iter_modules(kernels.__path__)]


def test_every_kernel_of_the_engine_has_a_phase_and_no_other() -> None:
    keys = {value.key for module in kernel_modules() for value in vars(module).values() if isinstance(value, wp.Kernel)}
    at_start = {"occlude"}  # once, when a renderer is made
    assert keys == set(measure.PHASES) | at_start


def test_a_tiny_run_gives_the_documented_document() -> None:
    document = render.measured(TINY, None)
    described = re.search(r"The document:\n\n(.*)", render.__doc__ or "", re.DOTALL)
    assert described is not None
    assert list(document) == re.findall(r"^ {4}([a-z]+) ", described[1], re.MULTILINE)
    json.dumps(document)
    phases = document["phases"][0]
    assert sum(phases["share"].values()) == pytest.approx(1.0)
    assert all(phases["milliseconds"][name] > 0 for name in ("posing", "shadows", "visibility", "shading", "encoding"))
    assert 64 * 64 * 0.2 < document["floor"]["pixels_shaded"] < 64 * 64


def test_a_renderer_that_is_not_installed_is_skipped_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(others.RENDERERS, "absent", import_absent)
    drawn = others.draw("absent", [], 16, 1, measure.cores()[0])
    assert drawn.median is None
    assert "make bench-render" in drawn.skipped


def import_absent(people: list, size: int, samples: int) -> others.RendererRun:
    import a_renderer_that_nobody_installed  # type: ignore[import-not-found]  # noqa: F401

    return others.RendererRun("absent", "")


def test_the_triangles_for_other_renderers_cover_the_same_pixels_as_ours() -> None:
    renderer = measure.renderer_on("cpu")
    choices = renderer.schema.neutral_discrete().astype(np.int64)
    sliders = renderer.schema.neutral_sliders()
    scene = Scenes.game(1)
    picture = renderer.render(sliders[None], choices[None], scene, 96).image[0]
    ours = np.abs(picture.astype(int) - scene.backgrounds(96)[0]).sum(axis=2) > 12
    drawn = others.draw("opencv", [material_meshes(renderer, sliders, choices)], 96, 2, measure.cores()[0])
    assert drawn.skipped == ""
    theirs = np.abs(drawn.images[0].astype(int) - 128).sum(axis=2) > 12
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.95
