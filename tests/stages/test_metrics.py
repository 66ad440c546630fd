"""Scores against values known by hand or from another library."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, r2_score

from stages import metrics


def test_r2_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((50, 3)).astype(np.float32)
    guess = truth + rng.normal(size=truth.shape).astype(np.float32) * 0.2
    np.testing.assert_allclose(metrics.r2(truth, guess), r2_score(truth, guess, multioutput="raw_values"), rtol=1e-5)


def test_r2_of_what_does_not_vary_is_nan() -> None:
    found = metrics.r2(np.array([[0.5, 0.1], [0.5, 0.9]], np.float32), np.array([[0.4, 0.1], [0.6, 0.9]], np.float32))
    assert np.isnan(found[0]) and found[1] == 1.0


def test_f1_equals_scikit_learn_and_absent_classes_are_nan() -> None:
    rng = np.random.default_rng(1)
    truth, guess = (rng.integers(0, 4, size=(6, 8)).astype(np.uint8) for _ in range(2))
    found = metrics.f1(truth, guess, 5)
    expected = f1_score(truth.ravel(), guess.ravel(), average=None)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(found[:4], expected)
    assert np.isnan(found[4])


def test_perfect_and_useless_verification() -> None:
    people = np.repeat(np.arange(20), 3)
    pairs, same = metrics.same_and_different(people)
    assert same.sum() == 60 and (~same).sum() == 60
    assert metrics.verification_accuracy(same.astype(float), same) == 1.0
    noise = np.random.default_rng(2).random(len(same))
    assert metrics.verification_accuracy(noise, same) == pytest.approx(0.5, abs=0.15)
    assert (people[pairs[same, 0]] == people[pairs[same, 1]]).all()


def test_a_constant_answer_is_never_first() -> None:
    gallery = np.random.default_rng(3).normal(size=(30, 8))
    assert (metrics.ranks(gallery, gallery) == 1).all()
    constant = np.ones((30, 8))
    assert (metrics.ranks(constant, constant) == 30).all()
    assert (metrics.ranks(constant, gallery) == 1).sum() <= 1


def test_bootstrap_resamples_people_not_rows() -> None:
    people = np.repeat(np.arange(4), 100)
    values = np.repeat([0.0, 0.0, 1.0, 1.0], 100)
    low, high = metrics.bootstrap(lambda rows: float(values[rows].mean()), people)
    assert high - low > 0.5, "four people are four observations, however many rows"
