"""The encoder's composite loss, one module a term.

Terms 1 to 4 are those of patent CN110717977A and of Shi et al., TPAMI 2022 (doi 10.1109/TPAMI.2020.3024009); the
supervised term is EasyCraft's (CVPR 2025). `composite` puts them together, `schedule` says which of them run when.
"""

from .composite import CompositeLoss, Photos
from .content import CLASS_WEIGHTS, ContentLoss, sized
from .decay import DecayLoss
from .identity import DomainStatistics, IdentityLoss
from .loop import LoopLoss
from .schedule import LossWeights, Schedule
from .supervised import SupervisedLoss

__all__ = [
    "CLASS_WEIGHTS", "CompositeLoss", "ContentLoss", "DecayLoss", "DomainStatistics", "IdentityLoss",
    "LoopLoss", "LossWeights", "Photos", "Schedule", "SupervisedLoss", "sized",
]  # fmt: skip
