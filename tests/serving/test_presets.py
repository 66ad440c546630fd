"""Presets that fit, and random people near what is decided."""

from pathlib import Path

import numpy as np
import pytest

from engine import sampler
from engine.schema import Schema
from serving.presets import PresetError, presets_of, random_near
from tests.marble import EXAMPLE
from tests.serving.support import EMBEDDED

SCHEMA = Schema.load(EMBEDDED)


def test_all_own_presets_fit_the_embedded_character_and_only_what_fits_is_offered() -> None:
    presets = presets_of(SCHEMA, None)
    assert len(presets) == 11
    assert set(presets["symmetric"].parameters) == {s.name for s in SCHEMA.sliders if s.name.startswith("asym")}
    assert set(presets_of(Schema.load(EXAMPLE), None)) == {"average"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- {name: orc, kind: person, label: Orc, parameters: {tusks: 1}}", "no slider tusks"),
        ("- {name: orc, kind: person, label: Orc, parameters: {age: 7}}", r"age is not in \[0, 1\]"),
        ("- {name: orc, kind: person, label: Orc, discrete: {hair: mane}}", "hair has no mane"),
        ("- {name: orc}", "no list of presets"),
        ("orc: [", "no list of presets"),
    ],
)
def test_a_studios_file_that_does_not_fit_is_told(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "presets.yaml").write_text(text)
    with pytest.raises(PresetError, match=why):
        presets_of(SCHEMA, tmp_path / "presets.yaml")


def test_what_is_decided_is_kept_and_the_rest_is_as_it_is_in_such_people() -> None:
    first = SCHEMA.pack(*sampler.plausible(SCHEMA, 1, np.random.default_rng(7)))[0]
    assert (random_near(SCHEMA, 7, {}, {}) == first).all(), "as it was before anything could be decided"
    women = np.stack([random_near(SCHEMA, seed, {"sex": 0.0}, {}) for seed in range(30)])
    sliders, choices = SCHEMA.choose(women)
    assert (sliders[:, SCHEMA.slider_index["sex"]] == 0).all()
    none = SCHEMA.choice("beard", "none")
    assert (choices[:, SCHEMA.group_index["beard"]] == none).mean() > 0.9, "nobody decided that, and yet"
    assert len({tuple(row) for row in sliders}) == 30
