"""The scorecard's sections on constructed cases with known answers: perfect, chance, ties, and what must not leak."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.reference import REFERENCE
from stages.data import tables
from stages.evaluation import groups, metrics, verification
from stages.evaluation.degradations import DEGRADATIONS, Degradation, hull
from stages.evaluation.likeness import DescribedPhotos, chance_of, other_photo, retrieval, same_photo, similarities
from stages.evaluation.recovery import commonest
from stages.evaluation.report import Report
from stages.evaluation.robustness import most_frontal_other
from stages.evaluation.verification import accuracies, fit_whitening, official_pairs, people_pairs, published
from tests.models.support import aligned_photos

pytestmark = pytest.mark.slow

PEOPLE = 60


def identities(people: int, dim: int, noise: float, seed: int = 0, shots: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of people, `shots` each: names [N] and vectors [N, dim]."""
    rng = np.random.default_rng(seed)
    own = np.repeat(rng.normal(size=(people, dim)), shots, axis=0)
    names = np.repeat([f"{seed}-{number:03d}" for number in range(people)], shots)
    return names, own + noise * rng.normal(size=own.shape)


def test_retrieval_is_perfect_for_the_same_and_chance_for_shuffled_people() -> None:
    gallery = np.random.default_rng(0).normal(size=(200, 32))
    names = np.arange(200)
    right = retrieval(gallery + 0.01, gallery, names)
    assert right["rank1"]["value"] == 1.0 and right["rank1_times_chance"]["value"] == 200.0
    shuffled = retrieval(np.roll(gallery, 1, axis=0), gallery, names)
    assert shuffled["rank1"]["value"] == 0.0
    assert shuffled["rank5_times_chance"]["value"] == pytest.approx(1.0, abs=1.2)
    assert retrieval(np.ones_like(gallery), np.ones_like(gallery), names)["rank5"]["value"] == 0.0, "all ties"


def test_the_gain_over_the_average_face_is_compared_photo_by_photo() -> None:
    """Photos differ far more than renders gain; only a paired comparison sees the gain."""
    rng = np.random.default_rng(1)
    photo = metrics.unit(rng.normal(size=(40, 8)))
    average = np.ones(8)
    render = metrics.unit(np.broadcast_to(average, photo.shape) / np.sqrt(8) + 0.05 * photo)
    found = similarities(DescribedPhotos(np.arange(40), photo, render, average))
    low, high = found["similarity_gain"]["ci"] or (0, 0)
    assert 0 < low < (found["similarity_gain"]["value"] or 0) < high
    separate = [found[name]["ci"] or [0, 0] for name in ("similarity", "similarity_average")]
    assert separate[0][0] < separate[1][1], "their own intervals overlap"


def test_a_real_person_is_looked_for_among_other_photos_only() -> None:
    people = np.array(["a", "a", "b", "b", "c"])
    photo = np.eye(5)
    photo[1] = photo[0] + 0.5 * photo[1]  # the two photos of a are alike, those of b are not
    seen = DescribedPhotos(people, photo, photo.copy(), np.ones(5))
    other, same = other_photo(seen), same_photo(seen)
    assert other["real_photos_rank1"]["n"] == 4, "c has one photo"
    assert other["real_photos_rank1"]["value"] == 0.5
    assert other["real_photos_rank1"]["baseline"] == 0.25
    assert same["real_photos_same_photo_rank1"]["value"] == 1.0
    assert same["real_photos_same_photo_rank1"]["baseline"] == pytest.approx(1 / 3, abs=1e-4)
    alone = other_photo(DescribedPhotos(np.array(["a", "b"]), np.eye(2), np.eye(2), np.ones(2)))
    assert alone["real_photos_rank1"] == metrics.nothing("nobody has two real photos")


@pytest.mark.parametrize(("k", "own", "gallery", "chance"), [(1, 1, 5, 0.2), (5, 2, 6, 1.0), (2, 1, 4, 0.5)])
def test_chance_in_a_gallery(k: int, own: int, gallery: int, chance: float) -> None:
    assert chance_of(k, own, gallery) == pytest.approx(chance)


def test_whitening_finds_people_behind_a_large_nuisance() -> None:
    """What photos of one person do not share is here twenty times as large as what they do."""
    rng = np.random.default_rng(2)

    def photographed(seed: int) -> tuple[np.ndarray, np.ndarray]:
        names, own = identities(PEOPLE, 12, 0.1, seed)
        return names, np.concatenate([own, 20 * rng.normal(size=(len(own), 2))], axis=1)

    (val_names, val), (names, x) = photographed(3), photographed(4)
    whitening, pairs = fit_whitening(val, val_names, "portraits"), people_pairs(names)
    assert whitening is not None and pairs is not None
    found = accuracies(pairs, x, identities(PEOPLE, 12, 0.1, 4)[1], val.mean(axis=0), whitening)
    assert (found["parameters"]["value"] or 1) < 0.7 < 0.9 < (found["parameters_pca"]["value"] or 0)
    assert found["ratio"]["value"] == pytest.approx(
        (found["parameters_pca"]["value"] or 0) / (found["recogniser"]["value"] or 1), abs=1e-4
    )


def test_verification_of_strangers_is_chance_however_the_rank_was_chosen() -> None:
    val_names, val = identities(PEOPLE, 20, 50.0, 5)
    names, x = identities(PEOPLE, 20, 50.0, 6)
    whitening, pairs = fit_whitening(val, val_names, "portraits"), people_pairs(names)
    assert pairs is not None
    found = accuracies(pairs, x, identities(PEOPLE, 20, 0.01, 6)[1], val.mean(axis=0), whitening)
    assert found["parameters_pca"]["value"] == pytest.approx(0.5, abs=0.1)
    assert found["recogniser"]["value"] == 1.0
    low, high = found["ratio"]["ci"] or (0, 0)
    assert low < 0.5 < high


def test_the_normalisation_never_sees_test_people(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    fit = verification.fit_whitening

    def spied(x: np.ndarray, people: Any, of: str) -> Any:
        seen.update(people)
        return fit(x, people, of)

    monkeypatch.setattr(verification, "fit_whitening", spied)
    (val_names, val), (names, x) = identities(PEOPLE, 8, 0.3, 7), identities(PEOPLE, 8, 0.3, 8)
    evaluation = SimpleNamespace(
        faces=pd.DataFrame({"person": names}), validation=pd.DataFrame({"person": val_names}), x=x, embeddings=x,
        predict=lambda table: val, inputs={"aligned_faces": tmp_path}, portraits_are_its_own=True,
    )  # fmt: skip
    card = verification.verification(evaluation, Report(tmp_path))  # pyright: ignore[reportArgumentType]
    assert seen == set(val_names) and not seen & set(names)
    assert card["whitening"]["people"] == PEOPLE and card["sets"] == {}
    assert card["ratio"]["value"] > 0.8


def test_pairs_share_no_people_across_folds() -> None:
    names, _ = identities(25, 2, 0.0)
    pairs = people_pairs(names)
    assert pairs is not None
    folds = [set(names[pairs.first[pairs.fold == k]]) | set(names[pairs.second[pairs.fold == k]]) for k in range(10)]
    assert sum(map(len, folds)) == 25 and set.union(*folds) == set(names)
    assert people_pairs(np.array(["a", "b"])) is None


def test_a_missing_photo_is_a_miss_in_an_official_protocol() -> None:
    ids = np.array([f"lfw/{number}" for number in range(40)])
    rows = pd.DataFrame(
        {"first": ids[:-1:2], "second": ids[1::2], "same": [True, False] * 10, "fold": np.arange(20) % 10}
    )
    vectors = np.random.default_rng(0).normal(size=(40, 6))
    vectors[1::4] = vectors[0::4]
    complete = official_pairs(rows, ids)
    assert metrics.balanced(complete.told_right(vectors), complete.same) == 1.0
    fewer = official_pairs(rows, ids[2:])
    assert metrics.balanced(fewer.told_right(vectors[2:]), fewer.same) == pytest.approx(0.95)


def test_sets_are_known_by_the_papers_names() -> None:
    assert (published("lfw") or {})["one_shot"] == 0.94
    assert (published("cfp_fp") or {})["recogniser"] == 0.949
    assert (published("agedb_30") or {})["iterative"] == 0.601
    assert published("my_photos") is None


def test_the_commonest_answer_is_what_suits_most() -> None:
    choices = np.array([0, 0, 3, 4, 5, 5, 4, 4], np.int16)
    assert commonest(choices, 6) == 4
    assert commonest(choices, 6, near=1) == 4
    assert commonest(np.array([0, 0, 1, 2, 2], np.int16), 3, near=1) == 1


@pytest.mark.parametrize("degradation", DEGRADATIONS, ids=lambda degradation: degradation.name)
def test_a_stronger_degradation_changes_more(degradation: Degradation) -> None:
    picture, landmarks = aligned_photos()[0], (REFERENCE * 256).astype(np.float32)
    spoilt = [degradation.apply(picture, s, landmarks, np.random.default_rng(0)) for s in degradation.strengths]
    change = [float(np.abs(image.astype(int) - picture).mean()) for image in spoilt]
    assert change[0] > 0.1 and all(b > 1.1 * a for a, b in pairwise(change))
    assert all(image.dtype == np.uint8 and image.shape == picture.shape for image in spoilt)


def test_degradations_have_the_units_they_claim() -> None:
    blur, noise, darkness, occlusion = DEGRADATIONS
    landmarks, rng = (REFERENCE * 256).astype(np.float32), np.random.default_rng(0)
    grey = np.full((256, 256, 3), 128, np.uint8)
    assert noise.apply(grey, 16, landmarks, rng).std() == pytest.approx(16, rel=0.02)
    assert darkness.apply(grey, 1, landmarks, rng)[0, 0, 0] == 92, "half the light of sRGB 128"
    covered = (occlusion.apply(grey, 40, landmarks, rng) != grey).any(axis=2)
    assert covered[hull(landmarks, (256, 256))].mean() == pytest.approx(0.4, abs=0.01)
    edge = np.zeros((256, 256, 3), np.uint8)
    edge[:, 128:] = 255
    slope = np.diff(blur.apply(edge, 4, landmarks, rng)[128, :, 0].astype(float))
    place = np.arange(255) - 127
    assert np.sqrt((slope * place**2).sum() / slope.sum()) == pytest.approx(4, rel=0.05)


def test_groups_that_differ_are_named_with_an_interval(tmp_path: Any) -> None:
    rng, report = np.random.default_rng(0), Report(tmp_path)
    names = np.array([f"{number:03d}" for number in range(PEOPLE)])
    of = np.array(["dark", "light", "rare"])[np.r_[np.arange(PEOPLE - 3) % 2, 2, 2, 2]]
    values = np.where(of == "light", 0.8, np.where(of == "dark", 0.5, 0.0)) + 0.05 * rng.normal(size=PEOPLE)
    report.by_mean("apart", values, names)
    report.by_mean("alike", rng.normal(size=PEOPLE), names)
    apart, alike = (groups.difference(statistic, names, of) for statistic in report.statistics)
    assert apart is not None and alike is not None
    assert (apart["highest"], apart["lowest"]) == ("light", "dark"), "three people are too few to be compared"
    assert apart["difference"]["value"] == pytest.approx(0.3, abs=0.04)
    assert apart["difference"]["ci"][0] > 0.25 > 4 * apart["difference"]["baseline"]
    low, high = alike["difference"]["ci"]
    assert low < 0 < high and alike["difference"]["value"] < 3 * alike["difference"]["baseline"]


def test_a_groups_score_is_that_of_its_people_alone(tmp_path: Any) -> None:
    report = Report(tmp_path)
    people = np.repeat(["a", "b", "c"], 2)
    report.by_mean("mean", np.array([1.0, 1.0, 2.0, 4.0, 9.0, 9.0]), people)
    found = groups.group_score(report.statistics[0], np.array(["a", "b"]))
    assert found["value"] == 2.0 and found["n"] == 2
    assert groups.group_score(report.statistics[0], np.array(["nobody"]))["value"] is None


def test_bands_are_cut_at_their_upper_ends() -> None:
    assert groups.banded(np.array([0.1, 0.4, 0.59, 0.6, 1.0]), groups.SEXES).tolist() == [
        "female", "between", "between", "male", "male",
    ]  # fmt: skip


def test_the_most_frontal_other_portrait() -> None:
    people = np.array(["a", "a", "a", "b"])
    assert most_frontal_other(people, np.array([5.0, -2.0, 30.0, 1.0])).tolist() == [1, 0, 1, -1]


def test_official_sets_are_scored_beside_the_papers(tmp_path: Any) -> None:
    """A set of 40 photos, one of them in quarantine; the normalisation is that of validation portraits."""
    (val_names, val), (names, x) = identities(PEOPLE, 8, 0.2, 9), identities(20, 8, 0.2, 10)
    ids = [f"lfw/{number:02d}" for number in range(40)]
    rows = [{"id": name, "source": "lfw", "person": who, "split": "test"} for name, who in zip(ids, names, strict=True)]
    tables.write(tmp_path / "faces.parquet", rows[1:], tables.FACES_SCHEMA)
    matching = [(2 * k, 2 * k + 1, True) for k in range(20)]
    other = [(2 * k, (2 * k + 3) % 40, False) for k in range(20)]
    pairs = [
        {"source": "lfw", "fold": number % 10, "first": ids[a], "second": ids[b], "same": same}
        for number, (a, b, same) in enumerate(matching + other)
    ]
    tables.write(tmp_path / "verification_pairs.parquet", pairs, tables.VERIFICATION_PAIRS_SCHEMA)
    vectors = dict(zip(ids, x, strict=True))
    evaluation = SimpleNamespace(
        faces=pd.DataFrame({"person": names}), x=x, embeddings=x, portraits_are_its_own=True,
        validation=pd.DataFrame({"person": val_names}), validation_photos=pd.DataFrame({"person": []}),
        predict=lambda table: val if "id" not in table else np.stack([vectors[name] for name in table["id"]]),
        embed=lambda table: np.stack([vectors[name] for name in table["id"]]), inputs={"aligned_faces": tmp_path},
    )  # fmt: skip
    found = verification.verification(evaluation, Report(tmp_path))["sets"]["lfw"]  # pyright: ignore[reportArgumentType]
    assert found["missing_pairs"] == 2 and found["parameters"]["n"] == 40
    assert found["recogniser"]["value"] <= 0.95, "a missing photo's pairs are misses"
    assert found["recogniser"]["value"] > 0.85 and found["parameters_pca"]["value"] > 0.8
    assert found["published"]["one_shot"] == 0.94 and found["whitening"]["of"] == "portraits"
