"""Two processes on the CPU; GPUs differ only in the library that averages the gradients."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.imitator import Imitator
from orchestration.config import catalog
from orchestration.config.settings import Settings
from orchestration.pipeline import materialize
from stages import imitator
from stages.context import Context
from stages.training import NotFinite, Optimiser, Training, distributed
from tests.models.support import ROOT
from tests.stages import small_tables, tiny_training
from tests.stages.tiny_training import Config

pytestmark = pytest.mark.slow

STAGE = "tests.stages.tiny_training"
SGD = Optimiser(kind="sgd", rate=0.05)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    assert not active_children()


def _run(folder: Path, config: Config, devices: int, **listeners) -> list[dict[str, Tensor]]:
    """What each process ended with."""
    for name in ("out", "ends"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    context = Context(devices=devices, checkpoints=folder / "checkpoints", **listeners)
    inputs = {"ends": folder / "ends"}
    if devices > 1:
        distributed.run(STAGE, inputs, config, folder / "out", context)
    else:
        tiny_training.run(inputs, config, folder / "out", context)
    return [load_file(folder / "ends" / f"{rank}.safetensors") for rank in range(devices)]


def _assert_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Up to the order of sums: a step's gradient is 32-bit, and twelve steps add their rounding."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], rtol=1e-4, atol=1e-6, msg=key)


def test_two_devices_equal_one_with_twice_the_batch(tmp_path: Path) -> None:
    logged: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    done: list[tuple[int, int]] = []
    two = Config(training=Training(steps=12, batch=4, log_every=4, optimiser=SGD, clip=2.0), regular=False)
    one = two.model_copy(update={"training": two.training.model_copy(update={"batch": 8})})
    ends = _run(
        tmp_path / "two",
        two,
        2,
        on_metrics=lambda values, step: logged[2].append(dict(values)),
        on_progress=lambda what, step, steps, values: done.append((step, steps)),
    )
    single = _run(tmp_path / "one", one, 1, on_metrics=lambda values, step: logged[1].append(dict(values)))
    for end in ends:
        _assert_close(end, single[0])
    assert done == [(4, 12), (8, 12), (12, 12)]
    assert [values.keys() for values in logged[2]] == [values.keys() for values in logged[1]]
    for key in ("tiny/loss", "tiny/error"):
        means = {devices: [v[key] for v in values if key in v] for devices, values in logged.items()}
        assert len(means[2]) >= 2 and means[2] == pytest.approx(means[1], rel=1e-4), "the mean over both devices"
    assert (tmp_path / "two" / "out" / "model.safetensors").exists()


def test_a_device_takes_every_other_batch_and_unused_or_frozen_parameters_do_no_harm(tmp_path: Path) -> None:
    two = Config(training=Training(steps=12, batch=4, optimiser=SGD), regular=False, two_heads=True)
    one = two.model_copy(update={"training": two.training.model_copy(update={"accumulate": 2})})
    ends, single = _run(tmp_path / "two", two, 2), _run(tmp_path / "one", one, 1)
    for end in ends:
        _assert_close(end, single[0])
    fresh = tiny_training.Network(two).state_dict()
    assert torch.equal(ends[0]["body.0.weight"], fresh["body.0.weight"]), "frozen"
    assert not torch.equal(ends[0]["second.weight"], fresh["second.weight"])


def test_a_killed_process_ends_all_and_the_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    training = Training(
        steps=12, batch=4, accumulate=2, checkpoint_steps=4, evaluate_every=5, optimiser=Optimiser(schedule="onecycle")
    )
    whole = _run(tmp_path / "whole", Config(training=training), 2)
    dies = Config(training=training, trouble="dies", trouble_at=6 * 4 + 1)  # step 6, second device
    with pytest.raises(distributed.DeviceProcessKilled, match="device 1 was killed by SIGKILL"):
        _run(tmp_path / "parts", dies, 2)
    resumed = _run(tmp_path / "parts", Config(training=training, trouble="raises", trouble_at=3 * 4), 2)
    for rank in range(2):
        for key, value in whole[rank].items():
            assert torch.equal(value, resumed[rank][key]), f"{key} of device {rank}"
            assert torch.equal(value, whole[0][key]), f"{key} is the same on all devices"


def test_a_loss_that_is_not_finite_stops_all_and_its_batch_shows_why(tmp_path: Path) -> None:
    config = Config(training=Training(steps=12, batch=4), trouble="nan", trouble_at=7)
    with pytest.raises(NotFinite, match="step 3 on device 1") as caught:
        _run(tmp_path, config, 2)
    path = tmp_path / "checkpoints" / "tiny" / "bad_batch_0000003_device1.safetensors"
    assert str(path) in str(caught.value)
    assert "in the process of device 1" in caught.value.__notes__[0]
    loss, _ = tiny_training.loss_of(tiny_training.Network(config), config, load_file(path))
    assert not torch.isfinite(loss)


def test_an_interrupt_ends_all(tmp_path: Path) -> None:
    def interrupt(what, step, steps, values) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, Config(training=Training(steps=100_000, batch=4)), 2, on_progress=interrupt)


def test_no_process_outlives_the_one_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    code = (
        "from pathlib import Path; from stages.training import distributed; from stages.context import Context\n"
        f"from {STAGE} import Config\n"
        "say = lambda values, step: print('trains', flush=True)\n"
        "config = Config(trouble='hangs', trouble_at=5)\n"
        f"distributed.run({STAGE!r}, {{}}, config, Path({str(tmp_path / 'out')!r}), Context(devices=2, on_metrics=say))"
    )
    command, own = [sys.executable, "-c", code], {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=own, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout and parent.stdout.readline() == "trains\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) >= 2
        parent.kill()
    _, alive = psutil.wait_procs(children, timeout=120)
    assert not alive


def test_what_cannot_travel_to_a_process_is_said_before_one_starts(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"(?i)pickle"):
        distributed.run(STAGE, {}, lambda: None, tmp_path, Context(devices=2))


def test_a_training_on_two_devices_needs_its_processes() -> None:
    with pytest.raises(RuntimeError, match=r"2 devices need a process each.*stages\.training\.distributed"):
        tiny_training.run({}, Config(), Path(), Context(devices=2))


def test_the_pipeline_runs_a_real_stage_on_two_devices(tmp_path: Path) -> None:
    inputs = {"rendered_pairs": small_tables.pairs(tmp_path / "pairs"), "character": small_tables.CHARACTER}
    config = imitator.Config(size=32, width=0.25, training=Training(steps=3, batch=2))
    stage = next(stage for stage in catalog.STAGES if stage.name == "imitator")
    (tmp_path / "out").mkdir()
    metrics = materialize.call(stage, inputs, config, tmp_path / "out", Context(devices=2))
    assert set(metrics) == {"l1", "psnr", "psnr_head", "psnr_mean_picture"}
    assert Imitator.load(tmp_path / "out").size == 32 and (tmp_path / "out" / "imitator.png").exists()


def test_devices_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_DEVICE", "cpu")
    assert Settings().pick_devices() == 1
    for value, expected in (("2", 2), ("auto", 1)):
        monkeypatch.setenv("LIKENESS_DEVICES", value)
        assert Settings().pick_devices() == expected
    monkeypatch.setenv("LIKENESS_DEVICE", "cuda")
    monkeypatch.setenv("LIKENESS_DEVICES", str(torch.cuda.device_count() + 1))
    with pytest.raises(ValueError, match="GPUs are visible"):
        Settings().pick_devices()
