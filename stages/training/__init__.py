"""The one training loop: any module, batches by number, a loss of named terms; one device or several; checkpoints from
which it goes on bit by bit.

Everything that a step depends on is a function of the seed and the step's number (which rows, which augmentation, which
learning rate) or lies in the checkpoint (weights, optimiser, random state), so an interrupted run ends where an
uninterrupted one does.
"""

from stages.training.batches import Batch, Pace, Prefetcher
from stages.training.checkpoint import CHECKPOINT, Extra
from stages.training.config import Optimiser, Training
from stages.training.rows import generator_for, rows_for
from stages.training.trainer import LossFunction, NotFinite, train

__all__ = [
    "CHECKPOINT", "Batch", "Extra", "LossFunction", "NotFinite", "Optimiser", "Pace", "Prefetcher", "Training",
    "generator_for", "rows_for", "train",
]  # fmt: skip
