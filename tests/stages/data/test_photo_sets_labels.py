"""Other people's label maps become ours: parts by the set's table, sides by the face's own landmarks."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from models import images
from models.face_parts import CLASSES
from models.images import BadImage
from models.orientation import ACROSS, turn
from stages.aligned_faces import Config
from stages.data import photo_sets
from stages.data.photo_sets import DatasetPhoto, labels
from stages.data.photo_sets.celeba_mask_hq import Masks
from tests.stages import photo_trees

PLAIN = {0: "background", 1: "face", 6: "nose", 7: "upper_lip", 8: "teeth", 9: "lower_lip"}
"""Parts without a side, by Helen's numbers."""
BACK = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
"""What undoes an orientation."""


def first(build: Callable, root: Path) -> DatasetPhoto:
    return next(photo_sets.photos_of(Config(photo_sets=(build(root),)).photo_sets, root))


def side_of(marks: np.ndarray, name: str) -> float:
    """Mean x of a class as a share of the width."""
    return float(np.nonzero(marks == CLASSES.index(name))[1].mean() / marks.shape[1])


@pytest.mark.parametrize(
    "build",
    [photo_trees.helen, photo_trees.lapa, photo_trees.celeba_mask_hq],
    ids=lambda build: build.__name__,
)
@pytest.mark.parametrize("mirrored", [False, True], ids=["as_is", "mirrored"])
def test_sides_are_the_persons_own_whatever_a_set_calls_them(build: Callable, mirrored: bool, tmp_path: Path) -> None:
    """In a photo the person's left is on the image's right."""
    photo, points = first(build, tmp_path), photo_trees.landmarks(0)
    assert photo.labels is not None and not photo.labels.sides_known
    marks = labels.fit(photo.labels.load(), *photo_trees.photo(0).shape[:2])
    if mirrored:  # the classes' names go wrong, as in a set that was augmented by mirroring
        marks = np.where(np.isin(marks, [3, 5]), marks + 1, np.where(np.isin(marks, [4, 6]), marks - 1, marks))
    ours = labels.with_own_sides(marks.astype(np.uint8), points)
    for part in ("brow", "eye"):
        assert side_of(ours, f"left_{part}") > side_of(ours, "nose") > side_of(ours, f"right_{part}")
    assert set(np.unique(ours)) == set(range(11)) - {CLASSES.index("hair")}
    either = np.isin(marks, [3, 4, 5, 6])
    assert (ours[~either] == marks[~either]).all()


@pytest.mark.parametrize("build", [photo_trees.helen, photo_trees.lapa, photo_trees.celeba_mask_hq])
def test_parts_lie_where_the_set_has_them(build: Callable, tmp_path: Path) -> None:
    """Nine tenths of each part's pixels are within a pixel of their class: a matte is soft, a mask half as large."""
    photo, drawn = first(build, tmp_path), photo_trees.drawn_labels(0)
    assert photo.labels is not None
    ours = labels.fit(photo.labels.load(), *drawn.shape)
    for number, name in PLAIN.items():
        near = cv2.dilate((ours == CLASSES.index(name)).astype(np.uint8), np.ones((3, 3), np.uint8))
        assert near[drawn == number].mean() > 0.9, name


def test_celeba_masks_lie_over_each_other_as_their_authors_draw_them(tmp_path: Path) -> None:
    """Ears are face, what is worn is background, glasses hide no part but fill what would be a hole."""
    masks = {
        "skin": np.s_[4:16, 4:16],
        "r_ear": np.s_[8:12, 16:18],
        "nose": np.s_[9:12, 9:11],
        "eye_g": np.s_[7:10, 2:18],
        "l_eye": np.s_[8:9, 6:8],
        "hair": np.s_[0:5, 4:16],
        "hat": np.s_[0:2, 0:20],
        "neck": np.s_[15:20, 6:14],
    }
    for part, where in masks.items():
        mask = np.zeros((20, 20), np.uint8)
        mask[where] = 255
        (tmp_path / f"00007_{part}.png").write_bytes(images.encode_png(mask))
    ours = Masks(tmp_path, 7).load()
    names = {
        (1, 8): "background", (3, 8): "hair", (16, 8): "background", (15, 8): "background", (10, 17): "face",
        (8, 3): "face", (9, 9): "nose", (8, 7): "left_eye", (12, 12): "face",
    }  # fmt: skip
    assert {place: CLASSES[ours[place]] for place in names} == names


def test_a_map_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    photo = first(photo_trees.lapa, tmp_path)
    path = tmp_path / "LaPa" / "train" / "labels" / "115769026_0.png"
    assert photo.labels is not None
    path.write_bytes(images.encode_png(np.full((8, 8), 11, np.uint8)))
    with pytest.raises(BadImage, match=r"115769026_0.png has the unknown class 11"):
        photo.labels.load()
    path.write_bytes(b"no picture")
    with pytest.raises(BadImage, match="is damaged"):
        photo.labels.load()
    with pytest.raises(BadImage, match="8 x 8 pixels, the photo 20 x 10"):
        labels.fit(np.zeros((8, 8), np.uint8), 10, 20)
    half = cv2.resize(photo_trees.drawn_labels(0), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_NEAREST)
    assert set(np.unique(labels.fit(half, *photo_trees.photo(0).shape[:2]))) == set(np.unique(half))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("build", [photo_trees.helen, photo_trees.lapa, photo_trees.celeba_mask_hq])
def test_labels_of_pixels_as_they_are_stored_are_turned_along(
    build: Callable, orientation: int, tmp_path: Path
) -> None:
    photo, points = first(build, tmp_path), photo_trees.landmarks(0)
    assert photo.labels is not None
    height, width = photo_trees.photo(0).shape[:2]
    straight = photo.labels.load()
    stored = turn(straight, BACK[orientation])
    size = (width, height) if orientation in ACROSS else (height, width)
    likeliest = labels.upright(stored, *size, orientation)[0]
    assert np.array_equal(likeliest, labels.fit(straight, height, width))
    assert labels.lie_on(likeliest, points)
    assert not labels.lie_on(turn(likeliest, 3), points), "they would be noticed upside down"


def test_labels_of_the_turned_picture_are_taken_where_only_they_fit() -> None:
    labelled = np.zeros((30, 20), np.uint8)
    (only,) = labels.upright(labelled, 20, 30, 6)
    assert only.shape == (30, 20)
    assert [one.shape for one in labels.upright(np.zeros((20, 20), np.uint8), 20, 20, 6)] == [(20, 20)] * 2
    with pytest.raises(BadImage, match="20 x 10 pixels, the photo 30 x 20"):
        labels.upright(np.zeros((10, 20), np.uint8), 20, 30, 6)


def test_a_label_map_is_read_by_its_numbers_whatever_its_palette(tmp_path: Path) -> None:
    drawn = photo_trees.drawn_labels(0)
    coloured = Image.fromarray(drawn).convert("P")
    coloured.putpalette([0, 0, 0, *[200, 100, 0] * 255])
    coloured.save(tmp_path / "palette.png")
    Image.fromarray(drawn.astype(np.uint16)).save(tmp_path / "deep.png")
    for name in ("palette", "deep"):
        assert np.array_equal(labels.read_map(tmp_path / f"{name}.png"), drawn)
    with pytest.raises(BadImage, match=r"colours.png is damaged: it has colours"):
        coloured.convert("RGB").save(tmp_path / "colours.png")
        labels.read_map(tmp_path / "colours.png")
