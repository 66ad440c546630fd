"""Another device than the CPU, for machines that have none.

PyTorch's fake tensors know shapes and devices and compute nothing. One operation on tensors of two devices raises, as
it does on a GPU, so what was left on the CPU is found. The device is `meta`: for a gradient of a fake CUDA tensor
PyTorch wants its CUDA build.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

DEVICE = "meta"


@contextmanager
def other_device() -> Iterator[None]:
    """Inside, tensors are fake, and what is moved to DEVICE lies there. Whoever asks a tensor yes or no hears yes, and
    a mask picks all: there are no values.
    """

    def picked(values: FakeTensor, key: object) -> Tensor:
        keys = [each for each in (key if isinstance(key, tuple) else (key,)) if isinstance(each, FakeTensor)]
        # On a GPU too: what lies on the CPU may pick there, and nothing the other way round.
        if any(each.device.type == DEVICE != values.device.type for each in keys):
            raise RuntimeError(f"indices should be on the same device as the indexed tensor ({values.device})")
        masked = isinstance(key, FakeTensor) and key.dtype == torch.bool
        return Tensor.__getitem__(values, slice(None) if masked else key)  # pyright: ignore[reportArgumentType]

    with pytest.MonkeyPatch.context() as patch, FakeTensorMode(allow_non_fake_inputs=True):
        patch.setattr(FakeTensor, "__bool__", lambda self: True, raising=False)
        patch.setattr(FakeTensor, "__getitem__", picked, raising=False)
        yield


def step_there(
    module: nn.Module,
    batch: Mapping[str, Tensor],
    loss_of: Callable[[dict[str, Any]], tuple[Tensor, Mapping[str, Tensor]]],
    *more: nn.Module,
) -> set[str]:
    """One training step of `module` on the other device, where `more` lies as well; the parameters with a gradient."""
    # A single number cannot be read back from a device that computes nothing.
    numbers = {name: value.item() for name, value in batch.items() if not value.ndim}
    with other_device():
        for each in (module, *more):
            each.to(DEVICE)
        trained = {name: value for name, value in module.named_parameters() if value.requires_grad}
        optimiser = torch.optim.AdamW(trained.values())
        total, terms = loss_of({name: value.to(DEVICE) for name, value in batch.items()} | numbers)
        assert {value.device.type for value in (total, *terms.values())} == {DEVICE}
        total.backward()
        optimiser.step()
        return {name for name, value in trained.items() if value.grad is not None}
