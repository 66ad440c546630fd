"""Choices from readings that know them, with the odds of sex and age."""

import numpy as np
import pytest
import torch

from models.choices import ChoiceReader, cells

N = 3000
HAIR, BEARD, TONE, PAIR = 3, 4, 6, 2
WOMAN, MAN = torch.tensor([-6.0]), torch.tensor([6.0])
YOUNG, OLD = torch.tensor([25.0]), torch.tensor([75.0])


@pytest.fixture(scope="module")
def reader() -> ChoiceReader:
    """Of a crowd where only men have beards, the old have the last hair, and nobody has the third beard."""
    rng = np.random.default_rng(0)
    sex, age = rng.integers(0, 2, N).astype(float), rng.uniform(20, 90, N)
    tone = rng.integers(0, TONE, N)
    beard = np.where((sex == 1) & (rng.random(N) < 0.6), np.where(rng.random(N) < 0.5, 1, 2), 0)
    hair = np.where(age > 60, 2, rng.integers(0, 2, N))
    pair = rng.integers(0, PAIR, N)
    readings = np.stack([hair == 0, beard == 1, beard == 2, tone, pair], 1) * 2.0 + rng.normal(size=(N, 5)) * 0.5
    made = ChoiceReader(
        5, (HAIR, BEARD, TONE, PAIR), ((0, 1, 2), (0, 1, 1, 1), range(TONE), (0, 1)), (False, False, True, False)
    )
    columns = [np.array([0]), np.array([1, 2]), np.array([3]), np.array([4])]
    made.fit(readings, np.stack([hair, beard, tone, pair], 1), columns, 4 * [0.001], sex, age)
    return made


def answer(
    reader: ChoiceReader, group: int, readings: list[float], male: torch.Tensor, age: torch.Tensor
) -> torch.Tensor:
    return torch.softmax(reader(torch.tensor([readings], dtype=torch.float32), male, age)[group][0], 0)


def test_what_is_seen_is_read_from_what_knows_it(reader: ChoiceReader) -> None:
    assert answer(reader, 0, [2, 0, 0, 4, 0], WOMAN, YOUNG).argmax() == 0
    assert answer(reader, 0, [0, 0, 0, 4, 0], WOMAN, YOUNG).argmax() == 1
    unmoved = [answer(reader, 0, [2, 0, 0, tone, pair], WOMAN, YOUNG) for tone, pair in ((0, 0), (10, 2))]
    assert torch.equal(*unmoved), "a group reads its own columns alone"
    assert [answer(reader, 3, [0, 0, 0, 4, pair], MAN, OLD).argmax() for pair in (0, 2)] == [0, 1]


def test_sex_and_age_change_the_odds(reader: ChoiceReader) -> None:
    seen = [0.0, 1.2, 0.0, 4.0, 0.0]
    assert answer(reader, 1, seen, MAN, YOUNG)[0] < 0.5 < answer(reader, 1, seen, WOMAN, YOUNG)[0]
    assert answer(reader, 0, [0, 0, 0, 4, 0], WOMAN, OLD).argmax() == 2


def test_a_choice_of_better_odds_needs_less_evidence() -> None:
    reader = ChoiceReader(1, (2, 4), [(0, 1), (0, 1, 1, 1)], (False, False))
    reader.bias.copy_(torch.tensor([0.5, 0.5, 0.45, 0.2, 0.18, 0.17]).log())
    assert answer(reader, 1, [0.0], MAN, YOUNG).argmax() == 1
    reader.add_odds(1, 0, 0.4)
    assert answer(reader, 1, [0.0], MAN, YOUNG).argmax() == 0
    assert answer(reader, 0, [0.0], MAN, YOUNG)[0] == pytest.approx(0.5)


def test_whether_there_is_one_is_asked_before_which_one() -> None:
    reader = ChoiceReader(1, (4,), [(0, 1, 1, 1)], (False,))
    reader.bias.copy_(torch.tensor([0.45, 0.2, 0.18, 0.17]).log())
    found = answer(reader, 0, [0.0], MAN, YOUNG)
    assert found.argmax() == 1 and found[0] == pytest.approx(0.45, abs=1e-4)
    assert found.sum() == pytest.approx(1.0, abs=1e-5)


def test_the_family_is_chosen_before_the_choice() -> None:
    reader = ChoiceReader(1, (5,), [(0, 1, 1, 3, 3)], (False,))
    shares = torch.tensor([0.30, 0.10, 0.15, 0.20, 0.25])
    reader.bias.copy_(shares.log())
    found = answer(reader, 0, [0.0], MAN, YOUNG)
    assert found.argsort(descending=True)[:3].tolist() == [4, 0, 2], "alone, the first is the likeliest"
    assert [float(found[family].sum()) for family in ([0], [1, 2], [3, 4])] == pytest.approx(
        [0.30, 0.25, 0.45], abs=1e-4
    )


def test_a_scale_answers_with_the_step_in_the_middle() -> None:
    reader = ChoiceReader(1, (5,), [range(5)], (True,))
    reader.bias.copy_(torch.tensor([0.4, 0.0001, 0.2, 0.2, 0.2]).log())
    assert answer(reader, 0, [0.0], MAN, YOUNG).argmax() == 2


def test_what_nobody_has_is_unlikely_and_nothing_is_impossible(reader: ChoiceReader) -> None:
    assert answer(reader, 1, [0, 2, 2, 4, 0], MAN, YOUNG)[3] < 0.01
    assert torch.isfinite(reader(torch.tensor([[0.0, 2, 2, 4, 0]]), MAN, YOUNG)[1]).all()


def test_cells_are_shares_of_six() -> None:
    found = cells(torch.tensor([-6.0, 6.0, 0.0]), torch.tensor([25.0, 80.0, 42.0]))
    assert torch.allclose(found.sum(1), torch.ones(3))
    assert found[0, 0] > 0.98 and found[1, 5] > 0.98 and found[2, :2].sum() == pytest.approx(0.5, abs=0.01)


def test_an_untrained_reader_has_no_opinion() -> None:
    reader = ChoiceReader(2, (3,), [range(3)], (False,))
    assert torch.allclose(answer(reader, 0, [1.0, 2.0], WOMAN, OLD), torch.full((3,), 1 / 3))
