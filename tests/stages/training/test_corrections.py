"""What another encoder read of a face is read anew in one's own directions."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.features import FaceFeatures
from stages.training.corrections import _read_by, read_anew

SHAPE = (12, 3, 3)


def fitted(seed: int, channels: int = 12, n_map: int = 40) -> FaceFeatures:
    """Features fitted on random faces of a recogniser."""
    embeddings, maps = faces(200, seed)
    found = FaceFeatures(8, SHAPE, channels, n_map)
    if n_map:
        found.directions.fit_channels(maps)
    found.fit(embeddings, found.directions.squeeze(maps) if n_map else None)
    return found


def faces(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    low = torch.randn(count, 20, generator=generator) @ torch.randn(20, 108, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(torch.randn(count, 8, generator=generator), dim=1), low.view(count, *SHAPE)


def kept(features: FaceFeatures, folder: Path) -> FaceFeatures:
    """As the table has its directions."""
    save_file(features.state_dict(), folder / "reader.safetensors")
    return _read_by(folder / "reader.safetensors", features)


def test_other_directions_of_the_same_recogniser_give_what_would_have_been_read(tmp_path: Path) -> None:
    before, now = fitted(1), fitted(2, channels=10, n_map=16)
    embeddings, maps = faces(30, 3)
    seen = before(embeddings, maps).half().float()
    again = read_anew(kept(before, tmp_path), now, seen)
    expected = now(embeddings, maps)
    assert (again - expected).abs().max() < 0.05, "half precision, and nothing else, is lost"
    assert expected.std() > 0.5
    assert torch.allclose(read_anew(kept(before, tmp_path), before, seen), seen, atol=0.02)


@pytest.mark.parametrize(("old", "new"), [(0, 0), (40, 0), (0, 16)])
def test_the_embedding_is_read_by_any_and_what_was_not_kept_is_the_mean(old: int, new: int, tmp_path: Path) -> None:
    before, now = fitted(1, n_map=old), fitted(2, n_map=new)
    embeddings, maps = faces(30, 3)
    again = read_anew(kept(before, tmp_path), now, before(embeddings, maps))
    assert again.shape == (30, 8 + new)
    assert torch.allclose(again[:, :8], now(embeddings, maps)[:, :8], atol=1e-4) and (again[:, 8:] == 0).all()
