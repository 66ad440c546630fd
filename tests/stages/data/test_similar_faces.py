"""One face under two people, and two people under one name, among made-up embeddings."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.data import similar_faces
from stages.data.similar_faces import alike, chance_limit, strangers

CODES = np.repeat(np.arange(60), 5)


def people(spread: float = 0.5) -> NDArray:
    """Five faces of each of 60 people, of length 1."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(60, 64))
    seen = centres[CODES] + spread * random.normal(size=(len(CODES), 64))
    return (seen / np.linalg.norm(seen, axis=1, keepdims=True)).astype(np.float32)


def test_people_of_their_own_are_told_apart_and_nothing_is_found() -> None:
    found = alike(people(), CODES, 0.5, 0.1, 10)
    assert (found.found, found.people, strangers(people(), CODES, 0.3)) == ([], 0, [])
    assert found.compared == 300 * 299 // 2 - 60 * 10


@pytest.mark.parametrize("block", [7, 2048])
def test_one_face_under_two_people_is_found_with_its_best_pair(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar_faces, "BLOCK", block)
    seen, codes = people(), CODES.copy()
    codes[3] = 99  # a face of person 0 under another name
    seen[250], codes[250] = seen[14], 98  # a copy of one of person 2's
    found = alike(seen, codes, 0.5, 0.1, 10)
    assert {tuple(sorted(codes[[one.best.first, one.best.second]])) for one in found.found} == {(0, 99), (2, 98)}
    assert (found.found[0].best.first, found.found[0].best.second, found.found[0].pairs) == (14, 250, 5)
    assert found.found[0].best.similarity == pytest.approx(1, abs=1e-6)


def test_only_so_many_are_listed_and_all_are_counted() -> None:
    codes = np.arange(len(CODES))  # nobody knows who they are
    found = alike(people(), codes, 0.5, 0.1, 2)
    assert len(found.found) == 2 and found.people == 600


def test_with_more_faces_two_must_be_more_alike() -> None:
    seen = people()
    few, _ = chance_limit(seen[:50], CODES[:50], 0.1, 0.1)
    many, _ = chance_limit(seen, CODES, 0.1, 0.1)
    assert 0.1 < few < many
    assert chance_limit(seen[:1], CODES[:1], 0.1, 0.1) == (0.1, 0)


@pytest.mark.parametrize("linked", [1000, 3])
def test_a_stranger_is_found_beside_the_photo_that_is_most_like_the_others(
    linked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar_faces, "LINKED_AT_MOST", linked)
    seen, codes = people(), CODES.copy()
    codes[7] = 0  # one of person 1's
    (found,) = strangers(seen, codes, 0.3)
    assert (found.row, codes[found.typical]) == (7, 0) and found.similarity < 0.3


def test_of_two_people_under_one_name_the_fewer_are_strangers() -> None:
    codes = CODES.copy()
    codes[5:8] = 0
    assert {one.row for one in strangers(people(), codes, 0.3)} == {5, 6, 7}


def test_of_two_photos_that_are_unlike_the_second_is_named() -> None:
    (found,) = strangers(people()[[0, 5]], np.zeros(2, np.int64), 0.3)
    assert (found.row, found.typical) == (1, 0)
