"""The same face under two people, the same photo in two splits, and two people under one name: told, and shown."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from models import images
from orchestration import checks
from orchestration.checks import duplicates, report
from orchestration.checks.context import CheckContext
from orchestration.config.check_rules import DuplicatesRule, Rules
from stages.data import face_embeddings
from tests.orchestration import good_tables as good
from tests.orchestration.good_tables import face

COLOURS = ((130, 0, 0), (0, 130, 0), (0, 0, 130), (130, 130, 0))


def crop(person: int, shot: int = 0) -> NDArray:
    """A picture that belongs to a person by its colour, and to a shot by its pattern."""
    pattern = np.random.default_rng(shot).integers(0, 120, (8, 8, 1)).repeat(32, 0).repeat(32, 1)
    return (pattern + COLOURS[person]).astype(np.uint8)


def by_colour(pictures: list[bytes]) -> NDArray[np.float32]:
    """Stands for the recogniser: one direction for each colour."""
    colours = np.stack([images.decode(picture).reshape(-1, 3).mean(0) for picture in pictures])
    lifted = np.zeros((len(pictures), face_embeddings.DIM), np.float32)
    lifted[:, :3] = colours - colours.mean(1, keepdims=True)
    lifted[:, 3] = 1e-3
    return lifted / np.linalg.norm(lifted, axis=1, keepdims=True)


def photo(name: str, picture: NDArray, split: str = "test") -> dict[str, Any]:
    return face(
        9,
        id=f"photos/{name}",
        source="photos",
        person=name.split("/")[0],
        split=split,
        image=images.encode_jpeg(picture),
    )


def copied(picture: NDArray) -> NDArray:
    """Smaller, blurred, mirrored and encoded again."""
    small = Image.fromarray(picture).resize((140, 140)).filter(ImageFilter.GaussianBlur(1)).resize((256, 256))
    return images.decode(images.encode_jpeg(np.ascontiguousarray(np.asarray(small)[:, ::-1]), 50))


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures the recogniser was shown at each call."""
    calls: list[int] = []

    def load(self: Any) -> Callable[[list[bytes]], NDArray[np.float32]]:
        def look(pictures: list[bytes]) -> NDArray[np.float32]:
            calls.append(len(pictures))
            return by_colour(pictures)

        return look

    monkeypatch.setattr(face_embeddings._Recogniser, "_load", load)
    return calls


FAULTS = [
    photo("ann/1.jpg", crop(0, 1), "train"),
    photo("ann/2.jpg", crop(0, 2), "train"),
    photo("bob/1.jpg", copied(crop(0, 2)), "test"),
    photo("cid/1.jpg", crop(1, 3)),
    photo("dan/1.jpg", crop(1, 4)),
    photo("eve/1.jpg", crop(2, 5)),
    photo("eve/2.jpg", crop(2, 6)),
    photo("eve/3.jpg", crop(3, 7)),
]
GOOD = [FAULTS[0], FAULTS[1], FAULTS[3], FAULTS[5], FAULTS[6]]


def context(tmp_path: Path, rows: list[dict[str, Any]], rules: Rules | None = None) -> CheckContext:
    rules = rules or Rules(duplicates=DuplicatesRule(same_face=0.97, chance=1e6))
    weights = tmp_path / "embedded" / face_embeddings.WEIGHTS
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"weights")
    folder = good.write(tmp_path / "table", "aligned_faces", [*(face(number) for number in range(3)), *rows])
    found = good.context("aligned_faces", folder, rules)
    return replace(found, fetch_input=lambda name: tmp_path / name, cache=tmp_path / "cache")


def checked(context: CheckContext) -> Any:
    (check,) = (one for one in checks.checks_of(context.stage, context.rules) if one.name == checks.DUPLICATES)
    return checks.evaluate(check, context)


def test_each_fault_is_named_with_the_photo_it_was_held_against(tmp_path: Path, looked_at: list[int]) -> None:
    result = checked(context(tmp_path, FAULTS))
    rows = {row["id"]: row for row in good.records(result, report.FAILING_ROWS)}
    assert not result.passed and result.severity.value == "WARN"
    assert rows["photos/ann/2.jpg"]["second"] == "photos/bob/1.jpg"
    said = "the same photo as bob's: 1.00, in train and test, and 1 more of the two"
    assert rows["photos/ann/2.jpg"]["value"] == said
    assert rows["photos/cid/1.jpg"]["value"] == "the same face as dan's: 1.00"
    assert "unlike eve's others" in rows["photos/eve/3.jpg"]["value"]
    assert rows["photos/eve/3.jpg"]["second"] in ("photos/eve/1.jpg", "photos/eve/2.jpg") and len(rows) == 3
    assert result.metadata["faces_compared"].value == 8


def test_photos_without_faults_pass_and_a_face_is_looked_at_once(tmp_path: Path, looked_at: list[int]) -> None:
    assert checked(context(tmp_path, GOOD)).passed
    assert checked(context(tmp_path, [*GOOD, FAULTS[4]])).passed is False
    assert looked_at == [5, 1], "portraits are nobody's, and the others are kept"


def test_pairs_are_drawn_beside_each_other(tmp_path: Path, looked_at: list[int]) -> None:
    version = context(tmp_path, FAULTS)
    found = duplicates.of_version(version, version.rules.duplicates or DuplicatesRule(), version.progress)
    rows = [{"id": one.first.id, "second": one.second.id} for one in found.same_faces]
    failing = [report.ExpectationResult("expected", "", False, "", "", rows=rows)]
    sheet = report.contact_sheet(version, duplicates.FACES, failing)
    assert sheet is not None and sheet.shape[:2] == (128, 4 * 128 + 3 * 4)


def test_a_source_may_be_left_out_and_the_check_be_switched_off(tmp_path: Path, looked_at: list[int]) -> None:
    rules = Rules(duplicates=DuplicatesRule(same_face=0.97, without=("photos",)))
    result = checked(context(tmp_path, FAULTS, rules))
    assert result.passed and "not two real photos" in result.description
    off = Rules.model_validate({"duplicates": None})
    stage = good.stage_named("aligned_faces")
    assert checks.DUPLICATES not in {check.name for check in checks.checks_of(stage, off)}


def test_a_document_has_every_pair(tmp_path: Path, looked_at: list[int]) -> None:
    version = context(tmp_path, FAULTS)
    found = duplicates.of_version(version, version.rules.duplicates or DuplicatesRule(), version.progress)
    document = json.loads(json.dumps(found.document()))
    assert [pair["same_photo"] for pair in document["same_faces"]].count(True) == 1
    assert document["people_alike"] == 2 and document["photos_unlike"] == 1
    assert {pair["in_two_splits"] for pair in document["same_faces"]} == {True, False}
