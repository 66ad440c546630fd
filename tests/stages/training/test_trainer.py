import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from stages.context import Context
from stages.training import CHECKPOINT, NotFinite, Optimiser, Prefetcher, Training, generator_for, rows_for, train
from tests.models.support import ROOT
from tests.stages import tiny_training

torch.manual_seed(3)
X = torch.randn(30, 5)
Y = X @ torch.randn(5, 2)

PACE = ("samples_per_second", "steps_per_second", "data_share")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are so small that threads would spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class _Stop(Exception):
    """Stands for a machine that goes down."""


def _run(config: Training, checkpoints: Path | None = None, stop_at: int | None = None, evaluate=None):
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))
    logged: list[tuple[int, dict[str, float]]] = []

    def on_metrics(values, step) -> None:
        if not any(name in key for key in values for name in PACE):  # what a clock says is never the same twice
            logged.append((step, dict(values)))

    def batch_at(k: int) -> dict[str, torch.Tensor]:
        if k == stop_at:
            raise _Stop
        rows = rows_for(k, config.batch, len(X), config.seed)
        noise = torch.randn(config.batch, 5, generator=generator_for(k, config.seed))
        return {"x": X[rows] + 0.01 * noise, "y": Y[rows]}

    def loss_of(batch):
        x = batch["x"] + 0.01 * torch.randn_like(batch["x"])  # from torch's global random numbers, as is dropout
        loss = (module(x) - batch["y"]).square().mean()
        return loss, {"squared": loss}

    context = Context(checkpoints=checkpoints, on_metrics=on_metrics)
    try:
        steps = train("tiny", module, batch_at, loss_of, config, context, evaluate)
    except _Stop:
        steps = -1
    return module, logged, steps


def _assert_same(one: nn.Module, other: nn.Module) -> None:
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "accumulate", "precision"),
    [("sgd", 1, "32-true"), ("adam", 1, "bf16-mixed"), ("adamw", 3, "32-true"), ("sgd", 3, "bf16-mixed")],
)
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, kind, accumulate: int, precision
) -> None:
    config = Training(
        steps=25, batch=4, accumulate=accumulate, checkpoint_steps=7, log_every=5, precision=precision, clip=1.0,
        optimiser=Optimiser(kind=kind, rate=0.01, schedule="onecycle", weight_decay=0.01),
    )  # fmt: skip
    whole, logged, _ = _run(config)
    _run(config, tmp_path, stop_at=17 * accumulate)
    resumed, logged_again, steps = _run(config, tmp_path)
    assert steps == 25
    _assert_same(whole, resumed)
    assert logged[-1] == logged_again[-1], "the mean that spans the interruption too"


@pytest.mark.slow
def test_a_training_killed_in_the_middle_of_a_pass_goes_on_bit_for_bit(tmp_path: Path) -> None:
    training = Training(steps=60, batch=4, accumulate=2, checkpoint_steps=5, optimiser=Optimiser(schedule="onecycle"))
    code = (
        "import torch; from pathlib import Path; from stages.context import Context\n"
        "from stages.training import Training; from tests.stages.tiny_training import Config, run\n"
        f"torch.set_num_threads({torch.get_num_threads()})\n"
        f"config = Config(training=Training(**{training.model_dump()!r}), trouble='dies', trouble_at=22 * 2 + 1)\n"
        f"run({{}}, config, Path({str(tmp_path)!r}), Context(checkpoints=Path({str(tmp_path)!r})))"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    with safe_open(tmp_path / "tiny" / CHECKPOINT, "pt") as file:
        step = json.loads(file.metadata()["state"])["step"]
    assert step == 20 and step * 8 % tiny_training.ROWS, "in the middle of a pass over the rows"
    ends = {}
    for name, checkpoints in (("resumed", tmp_path), ("whole", None)):
        (tmp_path / name).mkdir()
        config = tiny_training.Config(training=training)
        metrics = tiny_training.run({}, config, tmp_path / name, Context(checkpoints=checkpoints))
        ends[name] = metrics, (tmp_path / name / "model.safetensors").read_bytes()
    assert ends["resumed"] == ends["whole"], "the weights, and the next random number too"


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    config = Training(steps=10, batch=4)
    done, _, _ = _run(config, tmp_path)
    again, logged, steps = _run(config, tmp_path, stop_at=0)
    assert steps == 10 and not logged
    _assert_same(done, again)


def test_a_checkpoint_of_another_configuration_is_not_used(tmp_path: Path) -> None:
    _run(Training(steps=10, batch=4), tmp_path)
    _, _, steps = _run(Training(steps=12, batch=4), tmp_path, stop_at=5)
    assert steps == -1, "it began again and met the stop"


def test_checkpoints_hold_no_pickle_and_leave_no_partial_file(tmp_path: Path) -> None:
    _run(Training(steps=10, batch=4, checkpoint_steps=3), tmp_path)
    assert [p.name for p in (tmp_path / "tiny").iterdir()] == [CHECKPOINT]


def test_the_loss_falls_and_every_term_is_logged() -> None:
    config = Training(steps=200, batch=8, log_every=20, optimiser=Optimiser(kind="adam", rate=0.02))
    _, logged, _ = _run(config)
    values = [entry["tiny/loss"] for _, entry in logged]
    assert values[-1] < 0.6 * values[0]
    assert set(logged[0][1]) == {"tiny/loss", "tiny/squared", "tiny/learning_rate"}
    assert [step for step, _ in logged] == list(range(20, 201, 20))


@pytest.mark.parametrize("keep", [True, False])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(tmp_path: Path, keep: bool) -> None:
    module = nn.Linear(1, 1)
    before = module.weight.detach().clone()
    context = Context(checkpoints=tmp_path if keep else None)

    def loss_of(batch):
        loss = (module(batch["x"]) - batch["y"]).log().mean()
        return loss, {"broken": loss}

    def batch_at(k: int) -> dict[str, torch.Tensor]:
        return {"x": torch.ones(2, 1), "y": torch.full((2, 1), 9.0 if k == 1 else -9.0)}

    with pytest.raises(NotFinite, match="loss, broken not finite at step 0") as caught:
        train("tiny", module, batch_at, loss_of, Training(steps=3, accumulate=2), context)
    assert torch.equal(module.weight, before)
    kept = list(tmp_path.rglob("bad_batch_*"))
    assert [path.name for path in kept] == (["bad_batch_0000000_part1.safetensors"] if keep else [])
    assert ("bad_batch" in str(caught.value)) is keep
    for path in kept:
        assert not torch.isfinite(loss_of(load_file(path))[0]), "the batch shows why"


def test_a_gradient_that_is_not_finite_keeps_every_batch_of_the_step(tmp_path: Path) -> None:
    module = nn.Linear(1, 1, bias=False)
    before = module.weight.detach().clone()

    def loss_of(batch):  # at 0 the square root is finite, its slope is not
        loss = (module(batch["x"]) * 0).abs().sqrt().mean() if batch["x"].sum() else module(batch["x"]).sum()
        return loss, {}

    def batch_at(k: int) -> dict[str, torch.Tensor]:
        return {"x": torch.full((2, 1), float(k == 2))}

    with pytest.raises(NotFinite, match="gradient not finite at step 1"):
        train("tiny", module, batch_at, loss_of, Training(steps=3, accumulate=2), Context(checkpoints=tmp_path))
    assert torch.equal(module.weight, before)
    paths = sorted(tmp_path.rglob("bad_batch_*"))
    assert [path.name[-17:] for path in paths] == ["part0.safetensors", "part1.safetensors"]
    loss_of(load_file(paths[0]))[0].backward()
    assert module.weight.grad is not None and not module.weight.grad.isfinite().all()


def test_evaluation_runs_first_every_so_often_and_last() -> None:
    seen: list[int] = []
    _run(Training(steps=25, batch=4, evaluate_every=10), evaluate=lambda step: seen.append(step) or {"v": 1.0})
    assert seen == [0, 10, 20, 25]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_training_stops_when_the_loss_no_longer_moves(tmp_path: Path, accumulate: int) -> None:
    """Two windows of steps, whatever a step is made of; an interruption in the second changes nothing."""
    config = Training(
        steps=5000, batch=30, accumulate=accumulate, flat_window=20, flat_change=1e9, checkpoint_steps=12
    )  # fmt: skip
    whole, logged, steps = _run(config)
    assert steps == 40
    assert _run(config, tmp_path, stop_at=30 * accumulate)[2] == -1
    resumed, logged_again, steps = _run(config, tmp_path)
    assert steps == 40 and logged_again[-1] == logged[-1]
    _assert_same(whole, resumed)
    _, logged, steps = _run(config, tmp_path, stop_at=40 * accumulate)
    assert steps == 40 and not logged, "a training that has stopped is not taken up again"


def test_a_loss_that_still_moves_goes_on() -> None:
    optimiser = Optimiser(kind="sgd", rate=0.05, momentum=0)
    _, _, steps = _run(Training(steps=90, batch=30, flat_window=20, flat_change=1e-4, optimiser=optimiser))
    assert steps == 90


def test_bf16_learns_and_keeps_its_weights_in_32_bits() -> None:
    config = Training(
        steps=200, batch=8, log_every=20, precision="bf16-mixed", optimiser=Optimiser(kind="adam", rate=0.02)
    )
    module, logged, _ = _run(config)
    losses = [values["tiny/loss"] for _, values in logged]
    assert losses[-1] < 0.6 * losses[0]
    assert {value.dtype for value in module.state_dict().values()} == {torch.float32, torch.int64}
    exact, _, _ = _run(config.model_copy(update={"precision": "32-true"}))
    assert not torch.equal(next(module.parameters()), next(exact.parameters())), "it did compute in bf16"


def test_bf16_rounds_the_network_and_not_the_truth() -> None:
    module, seen = nn.Linear(2, 1), []

    def loss_of(batch):
        seen.append((module(batch["x"]).dtype, batch["y"].dtype))
        return (module(batch["x"]) - batch["y"]).square().mean(), {}

    batch = {"x": torch.ones(3, 2), "y": torch.ones(3, 1)}
    train("tiny", module, lambda k: batch, loss_of, Training(steps=1, precision="bf16-mixed"), Context())
    assert seen == [(torch.bfloat16, torch.float32)]


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_batches_made_ahead_change_nothing(ahead: int) -> None:
    config = Training(steps=20, batch=4, accumulate=2, optimiser=Optimiser(rate=0.01))
    plain, _, _ = _run(config.model_copy(update={"prefetch": 0}))
    module, _, _ = _run(config.model_copy(update={"prefetch": ahead}))
    _assert_same(plain, module)


def test_the_thread_that_makes_batches_ends_with_the_training_and_tells_its_errors_in_turn() -> None:
    def batch_at(k: int) -> dict[str, torch.Tensor]:
        if k == 4:
            raise _Stop
        return {"k": torch.tensor(k)}

    before = set(threading.enumerate())
    with pytest.raises(_Stop), Prefetcher(batch_at, range(0, 10, 2), ahead=3) as batches:
        assert [int(batches.take()["k"]) for _ in range(2)] == [0, 2]
        assert set(threading.enumerate()) != before
        batches.take()
    assert set(threading.enumerate()) == before


def test_a_batch_of_global_random_numbers_is_not_made_ahead() -> None:
    module = nn.Linear(1, 1)

    def go(prefetch: int) -> int:
        def batch_at(k: int) -> dict[str, torch.Tensor]:
            return {"x": torch.rand(2, 1)}

        config = Training(steps=3, prefetch=prefetch)
        return train("tiny", module, batch_at, lambda batch: (module(batch["x"]).mean(), {}), config, Context())

    with pytest.raises(ValueError, match="generator_for"):
        go(prefetch=1)
    assert go(prefetch=0) == 3


@pytest.mark.parametrize(("prefetch", "share"), [(0, 1 / 3), (1, 0.02 / (0.02 + 40 * 0.04))])
def test_the_pace_says_how_long_the_device_waited(prefetch: int, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch takes 20 ms to make and 40 ms to learn from, by a clock of the test's own: in turn a third is waiting,
    side by side no more than the first batch is waited for."""
    module, now, learner = nn.Linear(1, 1), 0.0, threading.get_ident()
    logged: list[dict[str, float]] = []
    made = [threading.Event() for _ in range(40)]

    def batch_at(k: int) -> dict[str, torch.Tensor]:
        nonlocal now
        if threading.get_ident() == learner:
            now += 0.020
        made[k].set()
        return {"x": torch.full((4, 1), float(k))}

    def loss_of(batch):
        nonlocal now
        now += 0.040
        following = int(batch["x"][0]) + 1
        if prefetch and following < len(made):
            assert made[following].wait(60), "the next one is made while this one is learnt from"
        return module(batch["x"]).mean(), {}

    monkeypatch.setattr("stages.training.trainer.time", SimpleNamespace(monotonic=lambda: now))

    config = Training(steps=20, batch=4, accumulate=2, prefetch=prefetch, log_every=10)
    train(
        "tiny", module, batch_at, loss_of, config, Context(on_metrics=lambda values, step: logged.append(dict(values)))
    )
    reported = [values for values in logged if "tiny/data_share" in values]
    assert len(reported) == 2 and set(reported[0]) == {f"tiny/{name}" for name in PACE}
    assert set(logged[-1]) == {f"tiny/whole_run/{name}" for name in PACE}
    assert logged[-1]["tiny/whole_run/data_share"] == pytest.approx(share)
    steps, samples = (logged[-1][f"tiny/whole_run/{name}_per_second"] for name in ("steps", "samples"))
    assert steps == pytest.approx((1 - share) / 0.080) and samples == pytest.approx(steps * 8)


def test_every_row_comes_once_a_pass_in_another_order() -> None:
    passes = np.concatenate([rows_for(k, 4, 10, 0) for k in range(5)]).reshape(2, 10)
    assert all(sorted(one) == list(range(10)) for one in passes.tolist())
    assert passes[0].tolist() != passes[1].tolist()
    assert rows_for(3, 4, 10, 0).tolist() != rows_for(3, 4, 10, 1).tolist()


def test_schedules_have_their_shapes() -> None:
    def rates(schedule) -> list[float]:
        optimiser = Optimiser(rate=1.0, schedule=schedule, decay_every=50, decay_by=0.5, warmup=0.2)
        return [optimiser.rate_at(step, 100) for step in range(100)]

    assert rates("constant") == [1.0] * 100
    assert rates("step")[49] == 1.0 and rates("step")[50] == 0.5
    assert rates("cosine")[0] == 1.0 and rates("cosine")[-1] < 0.01
    assert int(np.argmax(rates("onecycle"))) == 20 and rates("onecycle")[-1] < 0.01
