"""The finished head from the cache is the one that is made."""

import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from engine import finished_head
from engine.head import Head


@pytest.mark.parametrize("again", [False, True])
def test_a_head_from_the_cache_is_the_head_that_is_made(
    again: bool, embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKENESS_CACHE", str(tmp_path))
    folder, made = embedded / "character", finished_head._make(embedded / "character")
    for _ in range(1 + again):
        finished_head._load.cache_clear()
        found = finished_head.load(folder)
    for field in fields(Head):
        own, other = getattr(found, field.name), getattr(made, field.name)
        assert type(own) is type(other), field.name
        if isinstance(own, np.ndarray):
            assert own.dtype == other.dtype and np.array_equal(own, other), field.name
        else:
            assert own == other, field.name


def test_another_head_is_not_taken_for_it(embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_CACHE", str(tmp_path / "cache"))
    first, other = finished_head.load(embedded / "character"), tmp_path / "character"
    shutil.copytree(embedded / "character", other)
    head = Head.load(embedded / "character")
    replace(head, template=head.template + np.float32(0.001)).save(other)
    assert finished_head.load(other).template.mean() == pytest.approx(first.template.mean() + 0.001, abs=1e-5)
