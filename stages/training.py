"""The one training loop: any module, batches by step, a loss of named terms; checkpoints from which it goes on bit by
bit.

Everything that a step depends on is a function of the seed and the step's number (which rows, which augmentation, which
learning rate) or lies in the checkpoint (weights, optimiser, random state), so an interrupted run ends where an
uninterrupted one does.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from pydantic import BaseModel, Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.context import Context

CHECKPOINT = "checkpoint.safetensors"


class Optimiser(BaseModel, frozen=True, extra="forbid"):
    """Which optimiser, and its learning rate over the steps."""

    kind: Literal["sgd", "adam", "adamw"] = "adam"
    rate: float = Field(default=1e-4, gt=0)
    momentum: float = 0.9
    """SGD only."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "onecycle", "step"] = "constant"
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which onecycle's rate rises."""
    decay_every: int = Field(default=1000, gt=0)
    decay_by: float = Field(default=0.9, gt=0)
    """The step schedule multiplies the rate by this every `decay_every` steps."""

    def rate_at(self, step: int, steps: int) -> float:
        """Learning rate of step 0 .. steps - 1."""
        done = step / max(steps, 1)
        if self.schedule == "cosine":
            return self.rate * 0.5 * (1 + math.cos(math.pi * done))
        if self.schedule == "onecycle":
            if done < self.warmup:
                return self.rate * (0.04 + 0.96 * done / self.warmup)
            return self.rate * (
                0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup)))
            )
        if self.schedule == "step":
            return self.rate * self.decay_by ** (step // self.decay_every)
        return self.rate

    def build(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser."""
        if self.kind == "sgd":
            return torch.optim.SGD(parameters, self.rate, self.momentum, weight_decay=self.weight_decay)
        cls = torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW
        return cls(parameters, self.rate, self.betas, weight_decay=self.weight_decay)


class Training(BaseModel, frozen=True, extra="forbid"):
    """How long and how one model is trained."""

    steps: int = Field(default=1000, ge=0)
    batch: int = Field(default=16, gt=0)
    accumulate: int = Field(default=1, gt=0)
    """Batches whose gradients make one step."""
    optimiser: Optimiser = Optimiser()
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    clip: float | None = None
    """Largest gradient norm."""
    seed: int = 0
    log_every: int = Field(default=10, gt=0)
    evaluate_every: int = Field(default=500, gt=0)
    checkpoint_steps: int = Field(default=1000, gt=0)
    checkpoint_seconds: float = Field(default=60.0, gt=0)
    flat_window: int = Field(default=0, ge=0)
    """Stop when the mean loss of this many steps differs from that of as many before by less than `flat_change`; 0:
    never.
    """
    flat_change: float = 1e-4


class NotFinite(RuntimeError):
    """A loss or a gradient became infinite or not a number; the message says where the batch lies."""


Batch = Mapping[str, Tensor]
LossFunction = Callable[[Batch], tuple[Tensor, Mapping[str, Tensor]]]


class Extra(Protocol):
    """State of a stage that belongs into the checkpoint, such as the best weights so far."""

    def tensors(self) -> dict[str, Tensor]: ...
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None: ...


def rows_for(step: int, batch: int, n: int, seed: int) -> np.ndarray:
    """Row numbers of one batch: endless shuffled passes over n rows, each pass a permutation of its own; batches cross
    its end.
    """
    if n < 1:
        raise ValueError("there are no rows to train on")
    places = np.arange(step * batch, (step + 1) * batch)
    orders = {epoch: np.random.default_rng([seed, epoch]).permutation(n) for epoch in set((places // n).tolist())}
    return np.array([orders[place // n][place % n] for place in places.tolist()])


def generator_for(step: int, seed: int) -> torch.Generator:
    """Random numbers of one step, such as its augmentation."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 77, step]).generate_state(1)[0]))


def train(
    name: str,
    module: nn.Module,
    batch_at: Callable[[int], Batch],
    loss_of: LossFunction,
    config: Training,
    context: Context,
    evaluate: Callable[[int], Mapping[str, float]] | None = None,
    extra: Extra | None = None,
) -> int:
    """Train `module` in place and give the number of steps done.

    `batch_at(k)`: the k-th batch (k counts batches, over all processes too); its tensors are moved to the device.
    `loss_of(batch)`: the total and each term's raw value. `evaluate(step)` runs before the first step, every
    `evaluate_every` steps and after the last, with the module in eval mode. Values are logged as `<name>/<term>`.
    Raises NotFinite.
    """
    return _Loop(name, module, batch_at, loss_of, config, context, evaluate, extra).run()


class _Loop:
    """The state of one training; all of it that changes goes through `save` and `resume`."""

    def __init__(
        self,
        name: str,
        module: nn.Module,
        batch_at: Callable[[int], Batch],
        loss_of: LossFunction,
        config: Training,
        context: Context,
        evaluate: Callable[[int], Mapping[str, float]] | None,
        extra: Extra | None,
    ) -> None:
        from lightning.fabric import Fabric  # slow to import

        self.name, self.batch_at, self.loss_of, self.config = name, batch_at, loss_of, config
        self.context, self.evaluate, self.extra = context, evaluate, extra
        accelerator = "cuda" if context.device.startswith("cuda") else "cpu"
        self.fabric = Fabric(accelerator=accelerator, devices=1, precision=config.precision)
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.plain = module.to(self.fabric.device)
        # typed loosely: for one optimiser Fabric gives a wrapper with the methods of the one that it wraps
        self.optimiser: Any = self.fabric.setup_optimizers(config.optimiser.build(self.parameters))
        self.step, self.history = (
            0,
            [0.0, 0.0, float("nan")],
        )  # sum and number of this window's losses, mean of the last
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        folder = context.folder_for(name)
        self.path = folder / CHECKPOINT if folder else None

    def run(self) -> int:
        torch.manual_seed(self.config.seed)
        if not self.resume():
            self._evaluate()
        saved = started = time.monotonic()
        first = self.step
        while self.step < self.config.steps and not self._is_flat():
            self._one_step()
            now = time.monotonic()
            rate = (self.step - first) / max(now - started, 1e-9)
            if self.step % self.config.evaluate_every == 0 or self.step == self.config.steps:
                self._evaluate()
            if self.step % self.config.log_every == 0 or self.step == self.config.steps:
                self._report(rate)
            if self.step % self.config.checkpoint_steps == 0 or now - saved > self.config.checkpoint_seconds:
                self.save()
                saved = now
        if self.step < self.config.steps:
            self._evaluate()
        self.save()
        self.plain.eval()
        return self.step

    def _one_step(self) -> None:
        config = self.config
        self.plain.train()
        rate = config.optimiser.rate_at(self.step, config.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        for part in range(config.accumulate):
            batch = self.fabric.to_device(dict(self.batch_at(self.step * config.accumulate + part)))
            with self.fabric.autocast():
                total, terms = self.loss_of(batch)
            values = {"loss": float(total.detach()), **{k: float(v.detach()) for k, v in terms.items()}}
            self._check(values, batch)
            self.fabric.backward(total / config.accumulate)
            for key, value in values.items():
                self.sums[key] = self.sums.get(key, 0.0) + value
                self.counts[key] = self.counts.get(key, 0) + 1
            self.history[0] += values["loss"]
            self.history[1] += 1
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, config.clip or math.inf)
        self._check({"gradient": float(norm)}, batch)
        self.optimiser.step()
        self.step += 1

    def _check(self, values: Mapping[str, float], batch: Mapping[str, Tensor]) -> None:
        bad = [key for key, value in values.items() if not math.isfinite(value)]
        if not bad:
            return
        where = "no checkpoint folder was given, so the batch was not kept"
        if self.path:
            path = self.path.with_name(f"bad_batch_{self.step:07d}.safetensors")
            save_file({k: v.detach().cpu().contiguous() for k, v in batch.items()}, path)
            where = f"the batch is in {path}"
        raise NotFinite(f"{self.name}: {', '.join(bad)} not finite at step {self.step}; {where}")

    def _is_flat(self) -> bool:
        window = self.config.flat_window * self.config.accumulate
        if not window or self.history[1] < window:
            return False
        mean, before = self.history[0] / self.history[1], self.history[2]
        self.history = [0.0, 0.0, mean]
        return abs(before - mean) < self.config.flat_change  # false for the first window: before is not a number

    def _evaluate(self) -> None:
        if self.evaluate is None:
            return
        self.plain.eval()
        with torch.no_grad():
            values = self.evaluate(self.step)
        self.context.log({f"{self.name}/{key}": value for key, value in values.items()}, self.step)

    def _report(self, rate: float) -> None:
        means = {key: self.sums[key] / self.counts[key] for key in self.sums}
        self.sums, self.counts = {}, {}
        learning_rate = self.optimiser.param_groups[0]["lr"]
        self.context.log(
            {f"{self.name}/{k}": v for k, v in {**means, "learning_rate": learning_rate}.items()}, self.step
        )
        self.context.progress(self.name, self.step, self.config.steps, loss=means["loss"], steps_per_second=rate)

    def save(self) -> None:
        """Everything that changes, in one file, written beside and renamed."""
        if self.path is None:
            return
        tensors = {f"module.{k}": v for k, v in self.plain.state_dict().items()}
        tensors |= {f"extra.{k}": v for k, v in (self.extra.tensors() if self.extra else {}).items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        optimiser = self.optimiser.state_dict()
        plain: dict[str, Any] = {}
        for index, state in optimiser["state"].items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimiser.{index}.{key}"] = value
                elif value is not None:
                    plain[f"{index}.{key}"] = value
        meta = {
            "step": self.step,
            "history": self.history,
            "sums": self.sums,
            "counts": self.counts,
            "plain": plain,
            "config": self.config.model_dump_json(),
        }
        # a copy of each: safetensors refuses tensors that share memory
        copies = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        beside = self.path.with_name(f".{CHECKPOINT}.part")
        save_file(copies, beside, metadata={"state": json.dumps(meta)})
        beside.replace(self.path)

    def resume(self) -> bool:
        """Go on from the checkpoint if there is one for this configuration; True if there was."""
        if self.path is None or not self.path.exists():
            return False
        with safe_open(self.path, "pt") as file:
            meta = json.loads(file.metadata()["state"])
            if meta["config"] != self.config.model_dump_json():
                return False
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        parts: dict[str, dict[str, Tensor]] = {"module": {}, "extra": {}, "optimiser": {}, "random": {}}
        for key, value in tensors.items():
            part, _, rest = key.partition(".")
            parts[part][rest] = value
        self.plain.load_state_dict(parts["module"])
        if self.extra:
            self.extra.load_tensors(parts["extra"])
        self._load_optimiser(parts["optimiser"], meta["plain"])
        torch.set_rng_state(parts["random"]["cpu"])
        if "cuda" in parts["random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(parts["random"]["cuda"])
        self.step, self.history, self.sums, self.counts = (meta[k] for k in ("step", "history", "sums", "counts"))
        return True

    def _load_optimiser(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        state: dict[int, dict[str, Any]] = {}
        for key, value in {**tensors, **plain}.items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})


def save_model(folder: Path, module: nn.Module, meta: Mapping[str, Any]) -> None:
    """Weights as model.safetensors and all that is needed to rebuild the module as meta.json; the same model gives the
    same bytes.
    """
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in module.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "meta.json").write_text(json.dumps(meta, indent=2, sort_keys=True) + "\n")


def load_weights(folder: Path, module: nn.Module) -> None:
    """Weights from model.safetensors, every name matched. Raises FileNotFoundError or RuntimeError."""
    from safetensors.torch import load_file

    module.load_state_dict(load_file(folder / "model.safetensors"))


def read_meta(folder: Path) -> dict[str, Any]:
    """meta.json beside the weights."""
    return json.loads((folder / "meta.json").read_text())
