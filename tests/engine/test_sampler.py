"""Random people are what the schema's `sampler` section says they are."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from engine import sampler
from engine.schema import Schema, SchemaError

COUNT = 20_000


@pytest.fixture(scope="module")
def embedded_schema() -> Schema:
    return Schema.load(Path(__file__).resolve().parents[2] / "characters" / "embedded")


def toy(sampler: dict[str, Any] | None) -> Schema:
    """Four sliders and three groups."""
    return Schema.model_validate(
        {
            "name": "toy",
            "label": "Toy",
            "phenotypes": [{"name": name, "part": "p", "label": name} for name in ("sex", "old")],
            "sliders": [
                *({"name": name, "part": "p", "label": name} for name in ("jaw", "brow", "nose")),
                {"name": "horns", "part": "p", "label": "horns", "neutral": 0.0},
            ],
            "groups": [
                {"name": "hair", "label": "hair", "choices": ["none", "short", "long"], "neutral": "short"},
                {"name": "dye", "label": "dye", "choices": ["brown", "red"], "neutral": "brown"},
                {"name": "tone", "label": "tone", "choices": ["a", "b", "c", "d", "e"], "neutral": "c"},
            ],
            "sampler": sampler,
        }
    )


def draw(schema: Schema, count: int = COUNT, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    sliders, choices = sampler.plausible(schema, count, np.random.default_rng(seed))
    by_slider = {name: sliders[:, column].astype(float) for name, column in schema.slider_index.items()}
    return by_slider, {name: choices[:, column] for name, column in schema.group_index.items()}


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_sliders_of_one_factor_correlate_by_the_product_of_their_loadings() -> None:
    factors = [{"name": "size", "loadings": {"jaw": 0.8, "brow": -0.6}}]
    people, _ = draw(toy({"spread": 0.1, "limit": 9, "factors": factors}))
    assert correlation(people["jaw"], people["brow"]) == pytest.approx(-0.48, abs=0.03)
    assert correlation(people["jaw"], people["nose"]) == pytest.approx(0.0, abs=0.03)
    assert people["jaw"].std() == pytest.approx(0.1, rel=0.03)


def test_factor_follows_a_slider_with_a_distribution_of_its_own() -> None:
    factors = [{"name": "masculinity", "follows": {"sex": 0.7}, "loadings": {"jaw": 0.9}}]
    people, _ = draw(toy({"spread": 0.1, "limit": 9, "beta": {"sex": [0.5, 0.5]}, "factors": factors}))
    assert correlation(people["sex"], people["jaw"]) == pytest.approx(0.63, abs=0.03)
    assert people["sex"].mean() == pytest.approx(0.5, abs=0.01)


def test_slider_that_starts_at_0_is_used_by_the_given_share_of_people() -> None:
    people, _ = draw(toy({"used": 0.2, "spread": 0.3}))
    assert (people["horns"] > 0).mean() == pytest.approx(0.2, abs=0.01)


def test_mean_limit_and_own_spread_hold() -> None:
    people, _ = draw(toy({"spread": 0.1, "limit": 2.0, "means": {"jaw": 0.7}, "spreads": {"nose": 0.02}}))
    assert people["jaw"].mean() == pytest.approx(0.7, abs=0.01)
    assert people["jaw"].max() <= 0.9 + 1e-6 and people["jaw"].min() >= 0.5 - 1e-6
    assert people["nose"].std() == pytest.approx(0.02, rel=0.1)


def test_shares_sum_to_one() -> None:
    people, _ = draw(toy({"shares": [{"sliders": ["sex", "old"], "dirichlet": [1, 3]}]}), 500)
    np.testing.assert_allclose(people["sex"] + people["old"], 1.0, atol=1e-6)
    assert people["old"].mean() == pytest.approx(0.75, abs=0.05)


def test_choices_come_as_often_as_their_weights_say() -> None:
    groups = {"hair": [{"weights": {"none": 1, "others": 2}}]}
    _, chosen = draw(toy({"groups": groups}))
    np.testing.assert_allclose(np.bincount(chosen["hair"]) / COUNT, [0.2, 0.4, 0.4], atol=0.015)
    np.testing.assert_allclose(np.bincount(chosen["dye"]) / COUNT, [0.5, 0.5], atol=0.015)


def test_chances_follow_sliders_and_choices_drawn_before() -> None:
    groups = {
        "hair": [{"by": {"sex": {0: {"long": 1}, 1: {"none": 1}}}}, {"plus": {"old": {0: {}, 1: {"short": 1}}}}],
        "dye": [{"given": {"hair": {"none": {"brown": 1}, "long": {"red": 3, "brown": 1}}}}],
        "tone": [{"scale": {"centre": {"sex": 4, "old": 0}, "spread": 0.3}}],
    }
    people, chosen = draw(toy({"beta": {"sex": [0.3, 0.3], "old": [1, 1]}, "groups": groups}))
    young = people["old"] < 0.1
    assert (chosen["hair"][young & (people["sex"] > 0.95)] == 0).mean() > 0.85
    assert (chosen["hair"][young & (people["sex"] < 0.05)] == 2).mean() > 0.85
    assert (chosen["hair"][people["old"] > 0.9] == 1).mean() == pytest.approx(0.49, abs=0.03)
    assert (chosen["dye"][chosen["hair"] == 0] == 0).all()
    assert (chosen["dye"][chosen["hair"] == 2] == 1).mean() == pytest.approx(0.75, abs=0.02)
    assert correlation(chosen["tone"], people["sex"] / (people["sex"] + people["old"] + 1e-9)) > 0.9


def test_without_a_sampler_sliders_are_independent_and_choices_alike() -> None:
    people, chosen = draw(toy(None))
    assert correlation(people["jaw"], people["brow"]) == pytest.approx(0.0, abs=0.03)
    assert people["jaw"].mean() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(np.bincount(chosen["tone"]) / COUNT, 0.2, atol=0.02)


def test_people_without_any_weighted_choice_get_the_neutral_one() -> None:
    _, chosen = draw(toy({"groups": {"hair": [{"weights": {}}]}}), 50)
    assert (chosen["hair"] == 1).all()


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ({"factors": [{"name": "f", "loadings": {"tail": 0.5}}]}, "no slider tail"),
        ({"factors": [{"name": n, "loadings": {"jaw": 0.8}} for n in "ab"]}, "jaw's loadings sum to 1.28"),
        ({"factors": [{"name": "f", "follows": {"brow": 0.5}, "loadings": {}}]}, "brow has no distribution"),
        ({"beta": {"jaw": [1, 1]}, "factors": [{"name": "f", "loadings": {"jaw": 0.5}}]}, "cannot load"),
        ({"groups": {"hat": [{"weights": {}}]}}, "no group hat"),
        ({"groups": {"hair": [{"weights": {"mohawk": 1}}]}}, "no choice mohawk"),
        ({"groups": {"hair": [{"weights": {"none": -1}}]}}, "negative"),
        ({"groups": {"hair": [{"given": {"dye": {"red": {"none": 1}}}}]}}, "dye must come before"),
        ({"groups": {"hair": [{"weights": {}, "mix": {}}]}}, "a term has one of"),
        ({"wobble": 1}, "wobble"),
    ],
)
def test_sampler_that_does_not_fit_is_refused_by_name(tmp_path: Path, sampler: dict[str, Any], message: str) -> None:
    document = toy(None).model_dump(by_alias=True, mode="json") | {"sampler": sampler}
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(SchemaError, match=message):
        Schema.load(tmp_path)


def test_same_seed_gives_the_same_people(embedded_schema: Schema) -> None:
    for sample in sampler.SAMPLERS.values():
        first, second, other = (sample(embedded_schema, 20, np.random.default_rng(seed)) for seed in (4, 4, 5))
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])
        assert (first[0] != other[0]).any()


def test_embedded_people_are_correlated_as_people_are(embedded_schema: Schema) -> None:
    people, chosen = draw(embedded_schema)
    schema = embedded_schema
    assert correlation(people["weight"], people["head_fat"]) > 0.4
    assert correlation(people["head_fat"], people["double_chin"]) > 0.3
    assert correlation(people["age"], people["laugh_lines"]) > 0.3
    assert correlation(people["sex"], people["brow_ridge"]) > 0.3
    assert correlation(people["european"], chosen["skin"].astype(float)) > 0.5
    grey = np.isin(chosen["hair_colour"], [schema.choice("hair_colour", name) for name in ("grey", "white")])
    assert grey[people["age"] > 0.7].mean() > 0.5 > 0.05 > grey[people["age"] < 0.3].mean()
    bearded = chosen["beard"] != schema.choice("beard", "none")
    assert bearded[people["sex"] > 0.9].mean() > 0.3
    assert not bearded[people["sex"] < 0.5].any()


def test_a_thousand_times_as_many_people_take_far_less_than_a_thousand_times_as_long(embedded_schema: Schema) -> None:
    def seconds(count: int) -> float:
        """Of the processor, the best of three: another process may get in the way of one."""
        taken = []
        for _ in range(3):
            start = time.process_time()
            sampler.plausible(embedded_schema, count, np.random.default_rng(0))
            taken.append(time.process_time() - start)
        return min(taken)

    assert seconds(COUNT) < 300 * seconds(COUNT // 1000), "people are drawn together, not one by one"
