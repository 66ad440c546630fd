from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stages.context import Context
from stages.training import CHECKPOINT, NotFinite, Optimiser, Training, generator_for, rows_for, train

torch.manual_seed(3)
X = torch.randn(30, 5)
Y = X @ torch.randn(5, 2)

PACE = ("samples_per_second", "steps_per_second", "data_share")


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
        loss = (module(batch["x"]) - batch["y"]).square().mean()
        return loss, {"squared": loss}

    context = Context(checkpoints=checkpoints, on_metrics=on_metrics)
    try:
        steps = train("tiny", module, batch_at, loss_of, config, context, evaluate)
    except _Stop:
        steps = -1
    return module, logged, steps


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path, kind, accumulate: int) -> None:
    config = Training(
        steps=25, batch=4, accumulate=accumulate, checkpoint_steps=7, log_every=5,
        optimiser=Optimiser(kind=kind, rate=0.01, schedule="onecycle", weight_decay=0.01),
    )  # fmt: skip
    whole, logged, _ = _run(config)
    _run(config, tmp_path, stop_at=17 * accumulate)
    resumed, logged_again, steps = _run(config, tmp_path)
    assert steps == 25
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert logged[-1] == logged_again[-1], "the mean that spans the interruption too"


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    config = Training(steps=10, batch=4)
    done, _, _ = _run(config, tmp_path)
    again, logged, steps = _run(config, tmp_path, stop_at=0)
    assert steps == 10 and not logged
    assert all(torch.equal(a, b) for a, b in zip(done.parameters(), again.parameters(), strict=True))


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
    assert values[-1] < 0.5 * values[0]
    assert set(logged[0][1]) == {"tiny/loss", "tiny/squared", "tiny/learning_rate"}
    assert [step for step, _ in logged] == list(range(20, 201, 20))


@pytest.mark.parametrize("keep", [True, False])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(tmp_path: Path, keep: bool) -> None:
    module = nn.Linear(1, 1)
    before = module.weight.detach().clone()
    context = Context(checkpoints=tmp_path if keep else None)

    def loss_of(batch):
        loss = (module(batch["x"]) * float("nan")).mean()
        return loss, {"broken": loss}

    with pytest.raises(NotFinite, match="step 0") as caught:
        train("tiny", module, lambda k: {"x": torch.ones(2, 1)}, loss_of, Training(steps=3), context)
    assert torch.equal(module.weight, before)
    assert bool(list(tmp_path.rglob("bad_batch_*.safetensors"))) is keep
    assert ("bad_batch" in str(caught.value)) is keep


def test_evaluation_runs_first_every_so_often_and_last() -> None:
    seen: list[int] = []
    _run(Training(steps=25, batch=4, evaluate_every=10), evaluate=lambda step: seen.append(step) or {"v": 1.0})
    assert seen == [0, 10, 20, 25]


def test_training_stops_when_the_loss_no_longer_moves() -> None:
    config = Training(steps=5000, batch=30, flat_window=20, flat_change=1e9, optimiser=Optimiser(rate=1e-9))
    _, _, steps = _run(config)
    assert steps == 40


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
