"""The drawing process: in time, in order, and replaced when it dies."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from engine.exporters.options import ExportOptions
from engine.renderer import Renderer
from engine.schema import Schema
from orchestration.apps.export import export
from orchestration.config.settings import Settings
from serving.rendering.errors import Busy, CannotDraw, NoAnswer
from serving.rendering.service import IDLE_LOOK, REST, RenderService
from tests.serving.rendering.conftest import CHARACTER, EMBEDDED, ROOT, document

pytestmark = pytest.mark.slow

PNG = b"\x89PNG"
PATIENCE = 600.0
"""Seconds that a request may take: two cores may be busy."""


def rendering_of(character: Path, work: Callable[[RenderService], Awaitable[None]], waiting: int = 32) -> None:
    """Run some work with a rendering, and see that nothing of it is left."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}

    async def all_of_it() -> None:
        drawn = character.parent / "drawn"
        async with RenderService(character, EMBEDDED, drawn, waiting=waiting, timeout=PATIENCE) as rendering:
            await rendering.document()
            await work(rendering)

    asyncio.run(all_of_it())
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


def test_files_are_those_of_the_command_line(tmp_path: Path, renderer: Renderer) -> None:
    import cv2

    rng = np.random.default_rng(8)
    made = document(CHARACTER, **{slider.name: float(rng.random()) for slider in Schema.load(CHARACTER).sliders})
    settings = Settings(home=tmp_path, root=ROOT)
    (exported,) = export(settings, made, "glb", tmp_path / "likeness.glb")
    small = {"lod": 2, "targets": "faces"}
    (avatar,) = export(settings, made, "vrm", tmp_path / "character.vrm", options=ExportOptions(**small))
    export(settings, made, "mhm", tmp_path / "likeness.mhm")
    drawn: dict[str, bytes] = {}

    async def work() -> None:
        async with RenderService(CHARACTER, EMBEDDED, tmp_path / "drawn", timeout=PATIENCE) as rendering:
            drawn["glb"], drawn["mhm"] = await rendering.draw("glb", made), await rendering.draw("mhm", made)
            drawn["vrm"] = await rendering.draw("vrm", made, **small)
            drawn["png"] = await rendering.draw("png", made, size=256)

    asyncio.run(work())
    assert drawn["glb"] == exported.read_bytes() and drawn["vrm"] == avatar.read_bytes()
    assert drawn["mhm"] == (tmp_path / "likeness.mhm").read_bytes()
    schema = Schema.load(CHARACTER)
    sliders, choices = schema.choose(schema.from_document(made["parameters"], made["discrete"])[None])
    sent = cv2.imdecode(np.frombuffer(drawn["png"], np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(sent, renderer.picture(sliders, choices, 256))


def test_a_process_that_dies_fails_its_request_and_the_next_one_is_drawn(clay: Path) -> None:
    async def work(rendering: RenderService) -> None:
        with pytest.raises(NoAnswer, match="SIGKILL"):
            await rendering.draw("png", document(clay, burst=1.0), size=64)
        assert (await rendering.draw("png", document(clay), size=64)).startswith(PNG)

    rendering_of(clay, work)


def test_a_request_that_takes_too_long_is_ended(clay: Path) -> None:
    async def work(rendering: RenderService) -> None:
        rendering.timeout, begun = 1.0, time.monotonic()
        with pytest.raises(NoAnswer, match="within 1 s"):
            await rendering.draw("png", document(clay, seconds=1.0), size=64)
        assert time.monotonic() - begun < 60
        rendering.timeout = PATIENCE
        assert (await rendering.draw("png", document(clay), size=64)).startswith(PNG)

    rendering_of(clay, work)


def test_more_than_may_wait_are_told_when_to_come_back(clay: Path) -> None:
    async def work(rendering: RenderService) -> None:
        slow = document(clay, seconds=0.005)
        answers = await asyncio.gather(
            *(rendering.draw("png", slow, size=64) for _ in range(6)), return_exceptions=True
        )
        assert sum(isinstance(answer, bytes) for answer in answers) == 3
        assert {type(answer) for answer in answers[3:]} == {Busy}
        assert isinstance(answers[-1], Busy) and answers[-1].retry_after >= 1
        assert rendering.waiting == 0

    rendering_of(clay, work, waiting=3)


def test_pictures_for_everybody_do_not_keep_a_character_waiting(clay: Path) -> None:
    async def work(rendering: RenderService) -> None:
        done: list[str] = []

        async def draw(name: str, drawn: Awaitable[bytes]) -> None:
            await drawn
            done.append(name)

        anybody = [rendering.cached("png", document=document(clay, seconds=0.001), size=64 + n) for n in range(20)]
        character = rendering.draw("png", document(clay), size=64)
        await asyncio.gather(*(draw("anybody", one) for one in anybody), draw("character", character))
        assert done.index("character") <= 2

    rendering_of(clay, work, waiting=3)


def test_who_gives_up_while_waiting_costs_nothing(clay: Path) -> None:
    async def work(rendering: RenderService) -> None:
        first = asyncio.create_task(rendering.draw("png", document(clay, seconds=0.01), size=64))
        while rendering.waiting < 1:
            await asyncio.sleep(0)
        second = asyncio.create_task(rendering.draw("png", document(clay, burst=1.0), size=64))
        while rendering.waiting < 2:
            await asyncio.sleep(0)
        second.cancel()
        assert (await first).startswith(PNG)
        assert (await rendering.draw("png", document(clay), size=64)).startswith(PNG), "the second was never drawn"

    rendering_of(clay, work)


def test_nothing_is_drawn_ahead_while_photos_are_read(clay: Path) -> None:
    idle, drawn = [0.0], clay.parent / "drawn"

    def files() -> list[Path]:
        return [path for path in drawn.rglob("*") if path.is_file()]

    async def work() -> None:
        async with RenderService(clay, EMBEDDED, drawn, timeout=PATIENCE, idle_seconds=lambda: idle[0]) as rendering:
            assert (await rendering.draw("png", document(clay), size=64)).startswith(PNG), "who asks need not wait"
            await asyncio.sleep(5 * IDLE_LOOK)
            assert files() == []
            idle[0] = REST
            while not files():
                await asyncio.sleep(IDLE_LOOK)

    asyncio.run(work())


def test_it_stops_at_once_whatever_it_is_at(tmp_path: Path) -> None:
    async def work() -> None:
        for seconds in (0.0, 0.3, 3.0):  # before, while and after the engine is loaded
            async with RenderService(CHARACTER, EMBEDDED, tmp_path / "drawn"):
                await asyncio.sleep(seconds)
                asked = time.monotonic()
            assert time.monotonic() - asked < 60

    before = psutil.Process().children(recursive=True)
    asyncio.run(work())
    assert psutil.Process().children(recursive=True) == before


def test_refusals_are_in_words_and_leave_the_process_as_it_is(clay: Path) -> None:
    async def work(rendering: RenderService) -> None:
        pid = rendering._process.pid
        with pytest.raises(CannotDraw, match="another schema"):
            await rendering.draw("png", {**document(clay), "schema_md5": "0" * 32}, size=64)
        with pytest.raises(CannotDraw, match="engine of its own"):
            await rendering.draw("glb", document(clay))
        assert rendering._process.pid == pid and rendering.forms == ("png", "webp")

    rendering_of(clay, work)


def test_a_schema_that_changed_is_loaded_when_a_character_of_it_comes(clay: Path) -> None:
    async def work(rendering: RenderService) -> None:
        schema = clay / "schema.yaml"
        schema.write_text(schema.read_text().replace("[red, dark_blue]", "[red, dark_blue, green]"))
        assert (await rendering.draw("png", document(clay), size=64)).startswith(PNG)
        assert len((await rendering.document()).groups[0].choices) == 3

    rendering_of(clay, work)


def test_an_engine_that_cannot_be_loaded_is_told_of_without_a_path(clay: Path) -> None:
    async def work() -> None:
        async with RenderService(clay, EMBEDDED, clay.parent / "drawn", timeout=PATIENCE) as rendering:
            with pytest.raises(CannotDraw, match="cannot be loaded") as refused:
                await rendering.document()
            assert str(clay) not in str(refused.value)
            with pytest.raises(CannotDraw, match="cannot be loaded"):
                await rendering.draw("png", document(clay), size=64)

    (clay / "studio.py").write_text("import nowhere_to_be_found")
    asyncio.run(work())
