"""Identity imitator: what the recogniser sees in the engine's render of parameters, found without drawing it.

Beyond the papers, where the identity term looks at the imitator's drawing. A drawing that is right to a few grey levels
still shows the recogniser somebody else, while the embedding follows from the parameters almost linearly: a small
network knows it far better, and its gradient costs a thousandth. docs/method.md has the figures.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from .weights import load_weights, read_meta


class IdentityImitator(nn.Module):
    """Parameters x [B, width] -> the identity embedding [B, D] of the engine's render of them, of length 1.

    `dim`: D, that of the identity model whose embeddings it learnt.
    """

    def __init__(self, n_parameters: int, dim: int, hidden: int = 1024, dropout: float = 0.4) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_parameters, hidden), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(hidden, hidden), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(hidden, dim),
        )  # fmt: skip

    @classmethod
    def load(cls, folder: Path) -> IdentityImitator:
        """The trained network of a folder (`models.weights`), in eval mode."""
        return load_weights(folder, cls(**read_meta(folder)["architecture"]))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, n_parameters], continuous values in [0, 1] and one-hot or softmax groups."""
        return functional.normalize(self.layers(2 * x - 1), dim=1)
