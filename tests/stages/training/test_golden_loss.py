"""Twenty steps of a tiny encoder, pinned twice: a change of the loop that moves a loss must be meant.

Weights and rows come from numpy's generators, whose numbers are the same everywhere. What differs between processors is
the order of 32-bit sums: the same run in 64 bits stays within a tenth of the tolerance (tested), and the smallest
changes of what is guarded move some loss by more than ten times the tolerance (tested too).
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.context import Context
from stages.training import Batch, Optimiser, Training, generator_for, rows_for, train

TOLERANCE = 2e-5
_BASE = Training(steps=20, batch=6, accumulate=2, log_every=1, clip=0.2)  # which holds back about every other step
CONFIGS = {
    "adam": _BASE.model_copy(update={"optimiser": Optimiser(kind="adam", rate=0.02, schedule="onecycle", warmup=0.2)}),
    "sgd": _BASE.model_copy(
        update={"optimiser": Optimiser(kind="sgd", rate=0.3, schedule="step", decay_every=7, decay_by=0.5)}
    ),
}
GOLDEN = {
    "adam": [
        0.4327498, 0.4331803, 0.3647468, 0.3492236, 0.3764292, 0.3351690, 0.3118621, 0.2993024, 0.3621093, 0.2941613,
        0.3226422, 0.3013975, 0.2785123, 0.2722376, 0.2958092, 0.3030953, 0.2758620, 0.3372183, 0.2809239, 0.2681363,
    ],
    "sgd": [
        0.4327498, 0.4201664, 0.3549571, 0.3445560, 0.3800215, 0.3413824, 0.3091423, 0.3145692, 0.3441795, 0.3051540,
        0.3393508, 0.3211249, 0.2953231, 0.2922240, 0.3203934, 0.3229943, 0.2999775, 0.3588091, 0.3010657, 0.2880172,
    ],
}  # fmt: skip
DIM, SLIDERS, CHOICES, ROWS = 12, 6, 3, 50


class TinyEncoder(nn.Module):
    """An embedding in, sliders in [0, 1] and one group's probabilities out, by one residual attention block."""

    def __init__(self, random: np.random.Generator) -> None:
        super().__init__()
        self.into, self.block, self.gate = nn.Linear(DIM, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.sliders, self.group = nn.Linear(16, SLIDERS), nn.Linear(16, CHOICES)
        for parameter in self.parameters():
            parameter.data = torch.from_numpy(random.normal(0, 0.4, parameter.shape)).float()

    def forward(self, embedding: Tensor) -> Tensor:
        hidden = functional.relu(self.into(embedding))
        hidden = hidden + functional.relu(self.block(hidden)) * self.gate(hidden).sigmoid()
        return torch.cat([self.sliders(hidden).sigmoid(), self.group(hidden).softmax(1)], 1)


def losses(config: Training, dtype: torch.dtype = torch.float32, row_seed: int = 0) -> list[float]:
    """The loss of each step: the supervised term and the loop through a frozen stand-in for imitator and recogniser."""
    random = np.random.default_rng(5)
    encoder = TinyEncoder(random).to(dtype)
    draw = torch.from_numpy(random.normal(0, 0.5, (SLIDERS + CHOICES, DIM))).to(dtype)
    embeddings, noise = (torch.from_numpy(random.normal(0, 1, (ROWS, DIM))).to(dtype) for _ in range(2))
    x = torch.from_numpy(random.uniform(0, 1, (ROWS, SLIDERS + CHOICES))).to(dtype)
    seen: list[float] = []

    def batch_at(k: int) -> Batch:
        rows = rows_for(k, config.batch, ROWS, row_seed)
        share = torch.rand(config.batch, 1, generator=generator_for(k, config.seed)).to(dtype)
        return {"embeddings": embeddings[rows] + 0.2 * share * noise[rows], "x": x[rows]}

    def loss_of(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        found = encoder(batch["embeddings"])
        supervised = (found - batch["x"]).square().mean()
        loop = (found - encoder(found @ draw)).abs().mean()
        return supervised + loop, {"supervised": supervised, "loop": loop}

    def on_metrics(values, step) -> None:
        if "golden/loss" in values:
            seen.append(values["golden/loss"])

    assert train("golden", encoder, batch_at, loss_of, config, Context(on_metrics=on_metrics)) == len(seen)
    return seen


def _distance(one: list[float], other: list[float]) -> float:
    """Largest relative difference."""
    return float(np.abs(np.divide(one, other) - 1).max())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_tiny_run_still_has_the_losses_that_it_had(name: str) -> None:
    assert losses(CONFIGS[name]) == pytest.approx(GOLDEN[name], rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_the_order_of_sums_moves_no_loss_by_a_tenth_of_the_tolerance(name: str) -> None:
    assert _distance(losses(CONFIGS[name], torch.float64), GOLDEN[name]) < TOLERANCE / 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "part", "changes"),
    [
        # the optimiser
        ("adam", "optimiser", {"betas": (0.9, 0.99)}),
        ("adam", "optimiser", {"kind": "adamw", "weight_decay": 0.01}),
        ("sgd", "optimiser", {"momentum": 0.89}),
        # the schedule
        ("adam", "optimiser", {"warmup": 0.25}),
        ("adam", "optimiser", {"schedule": "cosine"}),
        ("sgd", "optimiser", {"decay_every": 8}),
        # clipping
        ("adam", "training", {"clip": None}),
        ("sgd", "training", {"clip": 0.201}),
        # the mean over accumulated batches, the random numbers of a batch, the precision
        ("sgd", "training", {"accumulate": 1}),
        ("adam", "training", {"seed": 1}),
        ("adam", "training", {"precision": "bf16-mixed"}),
    ],
)
def test_a_small_change_moves_the_losses(name: str, part: str, changes: dict[str, object]) -> None:
    """What the pinned losses guard: each change alone is seen, with room to spare."""
    config = CONFIGS[name]
    if part == "optimiser":
        changes = {"optimiser": config.optimiser.model_copy(update=changes)}
    assert _distance(losses(config.model_copy(update=changes)), GOLDEN[name]) > 10 * TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_another_order_of_the_rows_moves_the_losses(name: str) -> None:
    assert _distance(losses(CONFIGS[name], row_seed=1), GOLDEN[name]) > 10 * TOLERANCE
