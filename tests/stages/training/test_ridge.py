"""Ridge regression by leave-one-out error: what scikit-learn's finds, and nothing else."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

from stages.training import ridge
from stages.training.ridge import fit_ridge

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)


@pytest.mark.parametrize("rows", [40, 700], ids=["fewer rows than features", "several parts of many rows"])
def test_it_is_what_scikit_learn_finds(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "ROWS", 256)
    random = np.random.default_rng(5)
    x = random.normal(3.0, 1.0, (rows, 60)) * random.uniform(0.1, 3.0, 60)
    noise = np.array([0.1, 3.0, 30.0, 300.0])
    y = x @ random.normal(size=(60, 4)) + random.normal(size=(rows, 4)) * noise + 7.0
    x, y = x.astype(np.float32), y.astype(np.float32)
    found = fit_ridge(torch.from_numpy(x), torch.from_numpy(y), STRENGTHS)
    other = RidgeCV(alphas=STRENGTHS, alpha_per_target=True).fit(x.astype(np.float64), y.astype(np.float64))
    assert found.strengths.tolist() == np.asarray(other.alpha_).tolist()
    assert len(set(found.strengths.tolist())) > 1, "the noise of the targets differs, so the strengths do"
    assert np.allclose(found.weight.numpy(), np.asarray(other.coef_), rtol=1e-7, atol=1e-9)
    assert np.allclose(found.bias.numpy(), np.asarray(other.intercept_), rtol=1e-7, atol=1e-9)
