"""The loop itself, the same for one device and for several (data parallel: each has batches of its own, the gradients
are averaged).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

from stages.context import Context
from stages.training.batches import Batch, Pace, Prefetcher
from stages.training.checkpoint import (
    CHECKPOINT,
    Extra,
    put_together,
    random_state,
    read_tensors,
    set_random_state,
    take_apart,
    write_tensors,
)
from stages.training.config import Training

LossFunction = Callable[[Batch], tuple[Tensor, Mapping[str, Tensor]]]
Value = TypeVar("Value")


class NotFinite(RuntimeError):
    """A loss or a gradient became infinite or not a number; the message says where the batch lies."""


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

    `batch_at(k)`: the k-th batch, a function of k alone; device r of n takes the batches r, r + n, r + 2n ... and a
    background thread may ask for them. `loss_of(batch)`: the total and each term's raw value, means over the batch.
    `evaluate(step)` runs before the first step, every `evaluate_every` steps and after the last, with the module in
    eval mode.

    Logged as `<name>/...` every `log_every` steps: the loss and its terms, the learning rate; and apart from these
    `samples_per_second`, `steps_per_second` and `data_share`, the share of the time in which the device waited for a
    batch. The last three come once more at the end as `<name>/whole_run/...`.

    With several devices (`context.devices`; stages.training.distributed starts them) the module, `extra` and the steps
    are the same in all processes afterwards. The first process alone evaluates, while the others wait, logs and writes
    checkpoints. A checkpoint of another number of devices is not used: it would not lead to the same weights.

    Raises NotFinite.
    """
    return _Trainer(name, module, batch_at, loss_of, config, context, evaluate, extra).run()


class _LossModule(nn.Module):
    """The loss as a module's forward pass: only of a forward pass does data parallel training see the gradients."""

    def __init__(self, module: nn.Module, loss_of: LossFunction, device: str, precision: str) -> None:
        super().__init__()
        self.module, self.loss_of = module, loss_of
        self.device, self.bf16 = device, precision == "bf16-mixed"

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        # Fabric's own mixed precision would round the batch as well, and with it the truth that the loss compares with.
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            total, terms = self.loss_of(batch)
        return total.float(), {key: value.detach() for key, value in terms.items()}


class _Trainer:
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
        self.name, self.batch_at, self.config = name, batch_at, config
        self.context, self.evaluate, self.extra = context, evaluate, extra
        accelerator = "cuda" if context.device.startswith("cuda") else "cpu"
        self.fabric: Any = _fabric(accelerator, context.devices)
        self.rank, self.world = self.fabric.global_rank, self.fabric.world_size
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.plain = module.to(self.fabric.device)
        self.wrapped = self.fabric.setup_module(_LossModule(module, loss_of, accelerator, config.precision))
        # typed loosely: for one optimiser Fabric gives a wrapper with the methods of the one that it wraps
        self.optimiser: Any = self.fabric.setup_optimizers(config.optimiser.build(self.parameters))
        self.step, self.flat = 0, False
        # sum and number of this window's losses, mean of the last
        self.history = [0.0, 0.0, float("nan")]
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.recent, self.whole = Pace(), Pace()
        folder = context.folder_for(name)
        self.path = folder / CHECKPOINT if folder else None

    def run(self) -> int:
        config = self.config
        torch.manual_seed(_seed_of(config.seed, self.rank))
        if not self.resume():
            self._evaluate()
        first, last = (step * config.accumulate * self.world + self.rank for step in (self.step, config.steps))
        numbers = range(first, last, self.world)
        with Prefetcher(self.batch_at, numbers, config.prefetch, self.fabric.device.type == "cuda") as batches:
            self._steps(batches)
        if self.step < config.steps:
            self._evaluate()
        self.save()
        if self.whole.steps:
            self._log({f"whole_run/{key}": value for key, value in self._pace(self.whole).items()})
        self._share_buffers()
        self.plain.eval()
        return self.step

    def _steps(self, batches: Prefetcher) -> None:
        config, saved = self.config, time.monotonic()
        while self.step < config.steps and not self._is_flat():
            self._one_step(batches)
            if self.step % config.evaluate_every == 0 or self.step == config.steps:
                self._evaluate()
            # Clocks differ, so several devices agree on this one's where they exchange values anyway.
            late = time.monotonic() - saved > config.checkpoint_seconds
            if self.step % config.log_every == 0 or self.step == config.steps:
                late = self._report(late)
            elif self.world > 1:
                late = False
            if self.step % config.checkpoint_steps == 0 or late:
                self.save()
                saved = time.monotonic()

    def _one_step(self, batches: Prefetcher) -> None:
        config, began, waited = self.config, time.monotonic(), 0.0
        self.plain.train()
        rate = config.optimiser.rate_at(self.step, config.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        parts: list[Batch] = []
        for part in range(config.accumulate):
            asked = time.monotonic()
            parts.append(dict(batches.take()))
            batch = self.fabric.to_device(parts[-1])
            waited += time.monotonic() - asked
            with self.fabric.no_backward_sync(self.wrapped, enabled=part < config.accumulate - 1):
                total, terms = self.wrapped(batch)
                values = {"loss": float(total.detach()), **{k: float(v) for k, v in terms.items()}}
                self._check(values, {part: parts[-1]})
                self.fabric.backward(total / config.accumulate)
            for key, value in values.items():
                self.sums[key] = self.sums.get(key, 0.0) + value
                self.counts[key] = self.counts.get(key, 0) + 1
            self.history[0] += values["loss"]
            self.history[1] += 1
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, config.clip or math.inf)
        self._check({"gradient": float(norm)}, dict(enumerate(parts)))
        self.optimiser.step()
        self.step += 1
        for pace in (self.recent, self.whole):
            pace.add(time.monotonic() - began, waited)

    def _check(self, values: Mapping[str, float], parts: Mapping[int, Batch]) -> None:
        """Stop before the weights change, and keep the batches that a value came from."""
        bad = [key for key, value in values.items() if not math.isfinite(value)]
        if not bad:
            return
        where = "no checkpoint folder was given, so the batch was not kept"
        if self.path:
            paths = []
            for part, batch in parts.items():
                suffix = f"_part{part}" if self.config.accumulate > 1 else ""
                suffix += f"_device{self.rank}" if self.world > 1 else ""
                paths.append(self.path.with_name(f"bad_batch_{self.step:07d}{suffix}.safetensors"))
                write_tensors(paths[-1], batch)
            where = f"the batch is in {', '.join(map(str, paths))}"
        device = f" on device {self.rank}" if self.world > 1 else ""
        raise NotFinite(f"{self.name}: {', '.join(bad)} not finite at step {self.step}{device}; {where}")

    def _is_flat(self) -> bool:
        """Has the mean loss of the last two windows stayed the same? Asked once a step."""
        window = self.config.flat_window * self.config.accumulate
        if not self.flat and window and self.history[1] >= window:
            every = self._from_all(self.history[:2])
            mean = sum(total for total, _ in every) / sum(number for _, number in every)
            before, self.history = self.history[2], [0.0, 0.0, mean]
            # false for the first window: before is not a number
            self.flat = abs(before - mean) < self.config.flat_change
        return self.flat

    def _evaluate(self) -> None:
        if self.evaluate is None:
            return
        self.plain.eval()
        if self.rank == 0:
            with torch.no_grad():
                self._log(self.evaluate(self.step))
        if self.world > 1:
            tensors = self.fabric.broadcast(self.extra.tensors() if self.extra else {})
            if self.extra and self.rank:
                self.extra.load_tensors(tensors)

    def _report(self, late: bool) -> bool:
        """Log the means since the last report; gives what the first process knows: is a checkpoint due?"""
        every = self._from_all((self.sums, self.counts, late))
        keys = dict.fromkeys(key for sums, _, _ in every for key in sums)
        means = {
            key: sum(sums.get(key, 0.0) for sums, _, _ in every) / sum(counts.get(key, 0) for _, counts, _ in every)
            for key in keys
        }
        self.sums, self.counts = {}, {}
        self._log({**means, "learning_rate": self.optimiser.param_groups[0]["lr"]})
        self._log(self._pace(self.recent))
        self.recent = Pace()
        rate = self._pace(self.whole)["steps_per_second"]
        self.context.progress(self.name, self.step, self.config.steps, loss=means["loss"], steps_per_second=rate)
        return every[0][2]

    def _log(self, values: Mapping[str, float]) -> None:
        self.context.log({f"{self.name}/{key}": value for key, value in values.items()}, self.step)

    def _pace(self, pace: Pace) -> dict[str, float]:
        return pace.values(self.config.batch * self.config.accumulate * self.world)

    def _from_all(self, value: Value) -> list[Value]:
        """The value of each process, in order. All must call it."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def _share_buffers(self) -> None:
        """Running means and the like, which data parallel training evens out at the next step only."""
        if self.world > 1:
            for buffer in self.plain.buffers():
                distributed.broadcast(buffer, 0)

    def save(self) -> None:
        """Everything that changes, in one file; the random state and the unreported values of each process."""
        if self.path is None:
            return
        every = self._from_all((random_state(), [self.history, self.sums, self.counts]))
        if self.rank:
            return
        tensors = {f"module.{k}": v for k, v in self.plain.state_dict().items()}
        tensors |= {f"extra.{k}": v for k, v in (self.extra.tensors() if self.extra else {}).items()}
        optimiser, plain = take_apart(self.optimiser)
        tensors |= {f"optimiser.{k}": v for k, v in optimiser.items()}
        for rank, (states, _) in enumerate(every):
            tensors |= {f"random{rank}.{k}": v for k, v in states.items()}
        state = {"step": self.step, "flat": self.flat, "plain": plain, "values": [values for _, values in every]}
        write_tensors(self.path, tensors, {**state, "config": self.config.model_dump_json(), "devices": self.world})

    def resume(self) -> bool:
        """Go on from the checkpoint if there is one for this configuration; True if there was."""
        found = self._load() if self.path and self.path.exists() else False
        if self.world > 1:
            self.fabric.barrier()  # none may write a checkpoint that another takes for the one before this run
        return found

    def _load(self) -> bool:
        assert self.path
        parts, state = read_tensors(self.path)
        if (state["config"], state.get("devices")) != (self.config.model_dump_json(), self.world):
            return False
        self.plain.load_state_dict(parts["module"])
        if self.extra:
            self.extra.load_tensors(parts.get("extra", {}))
        put_together(self.optimiser, parts.get("optimiser", {}), state["plain"])
        set_random_state(parts[f"random{self.rank}"])
        self.step, self.flat = state["step"], state["flat"]
        self.history, self.sums, self.counts = state["values"][self.rank]
        return True


def _fabric(accelerator: str, devices: int) -> Any:
    """Lightning's view of the devices. Raises RuntimeError when there are several and nobody started the processes."""
    from lightning.fabric import Fabric  # slow to import
    from lightning.fabric.plugins.environments import LightningEnvironment
    from lightning.fabric.strategies import DDPStrategy

    if devices == 1:
        return Fabric(accelerator=accelerator, devices=1)
    if not distributed.is_initialized():
        raise RuntimeError(f"{devices} devices need a process each: start the stage by stages.training.distributed.run")
    # A term that is off in this step leaves its part of the network without a gradient.
    strategy = DDPStrategy(find_unused_parameters=True)
    fabric = Fabric(accelerator=accelerator, devices=devices, strategy=strategy, plugins=[LightningEnvironment()])
    fabric.launch()
    return fabric


def _seed_of(seed: int, rank: int) -> int:
    """Each process draws its own dropout; the first one's is that of a single device."""
    return seed if rank == 0 else int(np.random.SeedSequence([seed, 78, rank]).generate_state(1)[0])
