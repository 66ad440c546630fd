"""Every published layout is read as its authors lay it out, and what does not fit is said before any work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stages.aligned_faces import Config
from stages.data import photo_sets
from stages.data.photo_sets import DatasetPhoto, PhotoSetError, celeba, lfw, vggface2
from tests.stages import photo_trees

BUILDERS = (
    photo_trees.celeba,
    photo_trees.people,
    photo_trees.vggface2,
    photo_trees.lfw,
    photo_trees.verification_bin,
    photo_trees.helen,
    photo_trees.lapa,
    photo_trees.celeba_mask_hq,
)


def read(root: Path, *entries: dict[str, Any], **values: Any) -> list[DatasetPhoto]:
    return list(photo_sets.photos_of(configured(*entries, **values).photo_sets, root))


def configured(*entries: dict[str, Any], **values: Any) -> Config:
    return Config(photo_sets=[entry | values for entry in entries])  # type: ignore[arg-type]


def rows(photos: list[DatasetPhoto]) -> list[tuple[str, str, str]]:
    return [(photo.id, photo.person, photo.split) for photo in photos]


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_ids_are_unique_and_every_picture_lies_below_the_source(build: Callable, tmp_path: Path) -> None:
    entry = build(tmp_path)
    photos = read(tmp_path, entry)
    assert photos and len({photo.id for photo in photos}) == len(photos)
    assert {photo.source for photo in photos} == {entry["name"]}
    assert all(photo.id.startswith(f"{entry['name']}/") for photo in photos)
    assert all(isinstance(photo.picture, bytes) or photo.picture.is_relative_to(tmp_path) for photo in photos)
    assert read(tmp_path, entry) == photos


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_a_set_that_is_not_there_is_named(build: Callable, tmp_path: Path) -> None:
    with pytest.raises(PhotoSetError, match="no f"):
        read(tmp_path, build(tmp_path / "elsewhere"))


@pytest.mark.parametrize(
    ("build", "found"),
    [
        (photo_trees.celeba, "pictures in img_celeba: expected 202,599, found 6"),
        (photo_trees.vggface2, "people in train/: expected 8,631, found 2"),
        (photo_trees.lfw, "folds in pairs.txt: expected 10, found 2"),
        (photo_trees.verification_bin, "pairs in agedb_30.bin: expected 6,000, found 4"),
        (photo_trees.helen, "photos in exemplars.txt: expected 2,000, found 1"),
        (photo_trees.lapa, "photos in train/images: expected 18,176, found 1"),
        (photo_trees.celeba_mask_hq, "photos in CelebA-HQ-img: expected 30,000, found 3"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_part_of_a_set_must_be_said_to_be_one(build: Callable, found: str, tmp_path: Path) -> None:
    with pytest.raises(PhotoSetError, match=found):
        read(tmp_path, build(tmp_path), partial=False)


def test_celeba_has_its_people_and_its_official_split(tmp_path: Path) -> None:
    photos = read(tmp_path, photo_trees.celeba(tmp_path))
    assert rows(photos)[1:4] == [
        ("celeba/000002.jpg", "CelebA:2880", "train"),
        ("celeba/000003.jpg", "CelebA:7", "train"),
        ("celeba/000004.jpg", "CelebA:8", "val"),
    ]
    assert photos[0].focus == pytest.approx(tuple(photo_trees.five_points(photo_trees.landmarks(0)).mean(0)), abs=1)


def test_celebas_missing_picture_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celeba, "PICTURES", 6)
    entry = photo_trees.celeba(tmp_path) | {"partial": False}
    assert len(read(tmp_path, entry)) == 6
    (tmp_path / "celeba" / "img_celeba" / "000004.jpg").unlink()
    expected = "identity_CelebA.txt lists 6 pictures, img_celeba has 5: missing 000004.jpg"
    with pytest.raises(PhotoSetError, match=expected):
        read(tmp_path, entry)
    assert len(read(tmp_path, entry, partial=True)) == 5


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("identity_CelebA.txt", "000004.jpg 8\n", "", "identity_CelebA.txt lists 5 .* only one has 000004.jpg"),
        ("identity_CelebA.txt", "000004.jpg 8", "000004.jpg eight", "line 4: expected a line like '000001.jpg 2880'"),
        ("identity_CelebA.txt", "000004.jpg", "000003.jpg", "000003.jpg is listed twice"),
        ("list_eval_partition.txt", "000006.jpg 2", "000006.jpg 3", "splits other than 0, 1 and 2: 000006.jpg"),
        ("list_landmarks_celeba.txt", "000001.jpg ", "000001.jpg 7 ", "expected a picture and 10 coordinates"),
    ],
)
def test_celebas_damaged_lists_are_errors(file: str, old: str, new: str, reason: str, tmp_path: Path) -> None:
    entry = photo_trees.celeba(tmp_path)
    path = tmp_path / "celeba" / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(PhotoSetError, match=reason):
        read(tmp_path, entry)


def test_people_are_split_by_their_names_alone(tmp_path: Path) -> None:
    entry = photo_trees.people(tmp_path, 40)
    before = {photo.person: photo.split for photo in read(tmp_path, entry)}
    assert len(before) == 40 and set(before.values()) == {"train", "val", "test"}
    photo_trees.people(tmp_path, 60)
    after = {photo.person: photo.split for photo in read(tmp_path, entry)}
    assert len(after) == 60 and before.items() <= after.items()
    assert {photo.person: photo.split for photo in read(tmp_path, entry, seed=1)} != after
    assert {photo.split for photo in read(tmp_path, entry, split="test")} == {"test"}


def test_peoples_counts_can_be_stated(tmp_path: Path) -> None:
    entry = photo_trees.people(tmp_path, 3)
    assert len(read(tmp_path, entry, people=3, pictures=6)) == 6
    with pytest.raises(PhotoSetError, match="photos in casia: expected 494,414, found 6"):
        read(tmp_path, entry, pictures=494_414)
    (tmp_path / "casia" / "stray.jpg").write_bytes(b"picture")
    with pytest.raises(PhotoSetError, match=r"stray.jpg lies in no person's folder"):
        read(tmp_path, entry)


def test_vggface2_keeps_its_test_people(tmp_path: Path) -> None:
    entry = photo_trees.vggface2(tmp_path) | {"val_share": 0}
    split = {photo.person: photo.split for photo in read(tmp_path, entry)}
    assert split == {"vggface2/n000002": "train", "vggface2/n000003": "train", "vggface2/n000001": "test"}


def test_vggface2s_mixed_people_and_missing_photos_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vggface2, "PEOPLE", {"train": 2, "test": 1})
    entry = photo_trees.vggface2(tmp_path) | {"partial": False}
    (tmp_path / "vggface2" / "train" / "n000003" / "0002_01.jpg").unlink()
    with pytest.raises(PhotoSetError, match=r"photos of train/n000003 .*: expected 2, found 1"):
        read(tmp_path, entry)
    (tmp_path / "vggface2" / "train" / "n000003").rename(tmp_path / "vggface2" / "train" / "n000001")
    with pytest.raises(PhotoSetError, match="people in train/ and in test/: n000001"):
        read(tmp_path, entry)


def test_lfws_pairs_are_in_their_folds_and_their_people_are_tested(tmp_path: Path) -> None:
    config = configured(photo_trees.lfw(tmp_path))
    photos = list(photo_sets.photos_of(config.photo_sets, tmp_path))
    assert rows(photos)[1:3] == [
        ("lfw/Jacinda_Ardern/Jacinda_Ardern_0001.jpg", "lfw/Jacinda_Ardern", "test"),
        ("lfw/Jacinda_Ardern/Jacinda_Ardern_0002.jpg", "lfw/Jacinda_Ardern", "test"),
    ]
    pairs = list(photo_sets.pairs_of(config.photo_sets, tmp_path))
    assert [(pair.fold, pair.same) for pair in pairs] == [(0, True), (0, False), (1, True), (1, False)]
    assert (pairs[0].first, pairs[0].second) == (photos[1].id, photos[2].id)
    assert {pair.first for pair in pairs} | {pair.second for pair in pairs} <= {photo.id for photo in photos}
    with pytest.raises(ValidationError, match="must be in split test"):
        configured(photo_trees.lfw(tmp_path), split="train")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("2\t1\n", "600\n", "begins with '600'; expected '10<tab>300'"),
        ("2\t1\n", "2\t2\n", "has 4 pairs; its first line promises 8"),
        ("Jacinda_Ardern\t1\t2", "Jacinda_Ardern\t1", "line 2: expected 'Name<tab>1<tab>2'"),
    ],
)
def test_lfws_damaged_pairs_are_errors(old: str, new: str, reason: str, tmp_path: Path) -> None:
    entry = photo_trees.lfw(tmp_path)
    path = tmp_path / "lfw" / "pairs.txt"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(PhotoSetError, match=reason):
        read(tmp_path, entry)


def test_lfws_pairs_of_a_missing_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = photo_trees.lfw(tmp_path)
    (tmp_path / "lfw" / "lfw" / "Jacinda_Ardern" / "Jacinda_Ardern_0002.jpg").unlink()
    assert len(list(photo_sets.pairs_of(configured(entry).photo_sets, tmp_path))) == 1
    monkeypatch.setattr(lfw, "FOLDS", 2)
    monkeypatch.setattr(lfw, "PAIRS_A_FOLD", 1)
    with pytest.raises(PhotoSetError, match=r"names Jacinda_Ardern/Jacinda_Ardern_0002.jpg, which is not in"):
        list(photo_sets.pairs_of(configured(entry, partial=False).photo_sets, tmp_path))


def test_lfws_other_view_trains_and_has_no_pairs(tmp_path: Path) -> None:
    config = configured(photo_trees.lfw(tmp_path), view="development")
    split = {photo.person: photo.split for photo in photo_sets.photos_of(config.photo_sets, tmp_path)}
    assert split == {"lfw/Emmanuel_Macron": "train", "lfw/Jacinda_Ardern": "train", "lfw/Rishi_Sunak": "test"}
    assert not list(photo_sets.pairs_of(config.photo_sets, tmp_path))


def test_helens_lists_are_its_splits(tmp_path: Path) -> None:
    entry = photo_trees.helen(tmp_path)
    split = {photo.person: photo.split for photo in read(tmp_path, entry)}
    assert split == {"Helen:1629243_1": "train", "Helen:232194_1": "val", "Helen:2908549_1": "test"}
    (tmp_path / "helen" / "labels" / "232194_1" / "232194_1_lbl07.png").unlink()
    with pytest.raises(PhotoSetError, match=r"labels/232194_1/232194_1_lbl07.png is missing; expected 11 mattes"):
        read(tmp_path, entry)
    (tmp_path / "helen" / "testing.txt").write_text("1 , 232194_1\n")
    with pytest.raises(PhotoSetError, match=r"testing.txt lists photos of another list: 232194_1"):
        read(tmp_path, entry)


def test_lapas_photo_without_labels_is_named(tmp_path: Path) -> None:
    entry = photo_trees.lapa(tmp_path)
    (tmp_path / "LaPa" / "val" / "labels" / "167007578_2.png").unlink()
    with pytest.raises(PhotoSetError, match="val/labels lacks the label maps of 167007578_2"):
        read(tmp_path, entry)


def test_celeba_mask_hq_has_celebas_split_with_or_without_its_lists(tmp_path: Path) -> None:
    entry = photo_trees.celeba_mask_hq(tmp_path)
    assert rows(read(tmp_path, entry)) == [
        ("mask_hq/0", "mask_hq/0", "train"),
        ("mask_hq/1", "mask_hq/1", "val"),
        ("mask_hq/2", "mask_hq/2", "test"),
    ]
    photo_trees.write(tmp_path / "lists" / "identity_CelebA.txt", "000001.jpg 9\n162771.jpg 5\n202599.jpg 6\n")
    photo_trees.write(tmp_path / "lists" / "list_eval_partition.txt", "000001.jpg 0\n162771.jpg 1\n202599.jpg 2\n")
    known = [("mask_hq/0", "CelebA:9", "train"), ("mask_hq/1", "CelebA:5", "val"), ("mask_hq/2", "CelebA:6", "test")]
    assert rows(read(tmp_path, entry, celeba="lists")) == known
    (tmp_path / "mask_hq" / "CelebAMask-HQ-mask-anno" / "0").rename(tmp_path / "mask_hq" / "0")
    with pytest.raises(PhotoSetError, match="no folder CelebAMask-HQ-mask-anno/0/"):
        read(tmp_path, entry)


def test_a_person_in_two_splits_is_named(tmp_path: Path) -> None:
    """Whether by a set's own mistake or because two sets show the same people."""
    wild = photo_trees.celeba(tmp_path)
    mask = photo_trees.celeba_mask_hq(tmp_path) | {"celeba": "lists", "split": "test"}
    photo_trees.write(tmp_path / "lists" / "identity_CelebA.txt", "000001.jpg 2880\n162771.jpg 5\n202599.jpg 10177\n")
    photo_trees.write(tmp_path / "lists" / "list_eval_partition.txt", "000001.jpg 0\n162771.jpg 1\n202599.jpg 2\n")
    with pytest.raises(PhotoSetError, match=r"CelebA:2880 \(test in mask_hq, train in celeba\)\. Nobody may be"):
        photo_sets.splits(read(tmp_path, wild, mask))
    with pytest.raises(ValidationError, match="shows people of CelebA, which is here too"):
        configured(wild, mask | {"celeba": None})
    partition = tmp_path / "celeba" / "list_eval_partition.txt"
    partition.write_text(partition.read_text().replace("000002.jpg 0", "000002.jpg 2"))
    with pytest.raises(PhotoSetError, match=r"CelebA:2880 \(test in celeba, train in celeba\)"):
        photo_sets.splits(read(tmp_path, wild))


def test_lapas_copies_of_helens_photos_are_known(tmp_path: Path) -> None:
    """LaPa trains on photos that Helen tests on; leaving them out keeps the test honest."""
    entries = photo_trees.helen(tmp_path), photo_trees.lapa(tmp_path, train="HELEN_2908549_1_3")
    photos = read(tmp_path, *entries)
    with pytest.raises(PhotoSetError, match=r"Helen:2908549_1 \(test in helen, train in lapa\)"):
        photo_sets.splits(photos)
    people = photo_sets.splits(photos, "leave_out")
    assert [photo.id for photo in photos if not people.admits(photo)] == ["lapa/train/HELEN_2908549_1_3"]


def test_a_limit_keeps_whole_people_of_every_split(tmp_path: Path) -> None:
    entry = photo_trees.people(tmp_path, 40)
    everybody = read(tmp_path, entry)
    few = read(tmp_path, entry, limit=12)
    assert len({photo.person for photo in few}) == 12 and len(few) == 24 and set(few) < set(everybody)
    assert {photo.split for photo in few} == {"train", "val", "test"}


def test_pairs_stay_only_with_both_photos(tmp_path: Path) -> None:
    config = configured(photo_trees.lfw(tmp_path), limit=1)
    photos = {photo.id for photo in photo_sets.photos_of(config.photo_sets, tmp_path)}
    assert all({pair.first, pair.second} <= photos for pair in photo_sets.pairs_of(config.photo_sets, tmp_path))


def test_the_users_own_folder_does_not_take_in_the_other_sets(tmp_path: Path) -> None:
    photo_trees.write(tmp_path / "me" / "me.jpg", b"picture")
    photo_trees.write(tmp_path / "alone.png", b"picture")
    own = {"kind": "folder", "name": "photos", "path": "."}
    assert rows(read(tmp_path, own)) == [("photos/alone.png", "alone", "test"), ("photos/me/me.jpg", "me", "test")]
    photos = read(tmp_path, own, photo_trees.celeba(tmp_path), photo_trees.verification_bin(tmp_path))
    assert [photo.id for photo in photos][:3] == ["photos/alone.png", "photos/me/me.jpg", "celeba/000001.jpg"]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"kind": "celeb", "name": "a", "path": "a"}, "does not match any of the expected tags"),
        ({"kind": "lapa", "name": "a", "path": "a", "layout": "wild"}, "Extra inputs are not permitted"),
        ({"kind": "lapa", "name": "portraits", "path": "a"}, "name of the synthetic ones"),
        ({"kind": "lapa", "name": "LaPa", "path": "a"}, "should match pattern"),
        ({"kind": "lapa", "name": "lapa", "path": "../a"}, "does not lie below data/photos"),
        ({"kind": "lapa", "name": "lapa", "path": "/a"}, "does not lie below data/photos"),
        ({"kind": "verification_bin", "name": "lfw", "path": "a", "split": "train"}, "Input should be 'test'"),
    ],
)
def test_a_wrong_entry_is_refused(entry: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        configured(entry)


def test_two_sets_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two photo sets are called a"):
        configured({"kind": "lapa", "name": "a", "path": "b"}, {"kind": "helen", "name": "a", "path": "c"})


@pytest.mark.parametrize("path", [".", "sets", "sets/mine"])
def test_a_plain_folder_inside_another_sets_place_is_refused(path: str) -> None:
    own = {"kind": "folder", "name": "mine", "path": "sets/mine"}
    with pytest.raises(ValidationError, match="its photos would count twice"):
        configured(own, {"kind": "celeba", "name": "celeba", "path": path})
    configured(own, {"kind": "celeba", "name": "celeba", "path": "sets/mine/celeba"})
