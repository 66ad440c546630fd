import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from models import images
from models.face_parts import CLASSES
from models.orientation import turn, turn_point
from models.reference import REFERENCE, five_points
from stages import aligned_faces
from stages.aligned_faces import Config
from stages.context import Context
from stages.data import alignment_cache, tables
from stages.data.photo_sets import PhotoSetError
from tests.models.support import ROOT
from tests.stages import photo_trees, small_tables

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("aligned")
    photos = root / "photos"
    for path in small_tables.PHOTOS:
        target = photos / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (photos / "sunak" / "broken.jpg").write_bytes(b"no picture")
    (photos / "CREDITS.md").write_text("who took them")
    (photos / "labels.csv").write_text("file,sex,glasses\nsunak.jpg,m,\nobama/obama.jpg,m,none\n")
    return {
        "embedded": small_tables.embedded(root / "embedded"),
        "portraits": small_tables.portraits(root / "portraits", bad=True),
        "photos": photos,
    }


def _run(inputs: dict[str, Path], out: Path, config: Config, workers: int = 1) -> dict[str, float]:
    out.mkdir()
    return aligned_faces.run(inputs, config, out, Context(workers=workers))


def test_portraits_and_photos_are_aligned_alike(inputs: dict[str, Path], tmp_path: Path) -> None:
    metrics = _run(inputs, tmp_path / "out", Config())
    assert metrics == {"portraits": 12, "photos": 6, "quarantined": 3, "quarantined_share": pytest.approx(3 / 21)}
    faces = tables.read(tmp_path / "out" / "faces.parquet")
    assert faces["id"].iloc[0] == "portraits/00000" and faces["id"].iloc[-1] == "photos/sunak/sunak.jpg"
    labels = tables.read(tmp_path / "out" / "appearance_labels.parquet").set_index("id")
    assert set(labels.index) == {"photos/sunak/sunak.jpg", "photos/obama/obama.jpg"} and set(labels["sex"]) == {"m"}
    assert labels["glasses"].notna().tolist() == [False, True] and labels["beard"].isna().all()
    real = faces[faces["source"] == "photos"]
    assert set(real["split"]) == {"test"} and real["labels"].isna().all() and real["parameters"].isna().all()
    assert set(real["person"]) == {"ardern", "macron", "obama", "sunak"}
    assert set(faces["person"][faces["source"] == "portraits"]).isdisjoint(real["person"]), "also of the same name"
    for landmarks in tables.stack(faces["landmarks"]).reshape(-1, 68, 2):
        assert np.linalg.norm(five_points(landmarks) / 256 - five_points(REFERENCE), axis=1).mean() < 0.04
    first = faces.iloc[0]
    assert images.decode(first["image"]).shape == (256, 256, 3)
    labels = images.decode_labels(first["labels"])
    assert labels.shape == (256, 256) and set(np.unique(labels)) <= {0, 1, 4}
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {"portraits.png", "photos.png"}


def test_each_quarantined_photo_has_its_reason(inputs: dict[str, Path], tmp_path: Path) -> None:
    _run(inputs, tmp_path / "out", Config(min_eye_distance=40.0))
    quarantine = tables.read(tmp_path / "out" / "quarantine.parquet").set_index("id")["reason"]
    assert quarantine["portraits/blank"] == "no face found"
    assert quarantine["portraits/broken"].startswith("unreadable")
    assert quarantine["photos/sunak/broken.jpg"].startswith("unreadable")
    assert "too small" in quarantine["photos/macron/macron_2014.jpg"]


def test_a_photo_on_its_head_is_turned_and_one_that_shows_hardly_a_face_is_refused(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "photos" / "ardern"
    folder.mkdir(parents=True)
    photo = images.decode_photo(next(path for path in small_tables.PHOTOS if path.stem == "ardern_2018"))
    for name, picture in (
        ("upright", photo),
        ("on_its_head", photo[::-1, ::-1]),
        ("on_its_side", np.rot90(photo)),
        ("blurred", cv2.GaussianBlur(photo, (0, 0), 21)),
    ):
        (folder / f"{name}.png").write_bytes(images.encode_png(np.ascontiguousarray(picture)))
    _run(inputs | {"photos": tmp_path / "photos"}, tmp_path / "out", Config())
    faces: dict[str, Any] = {
        row["id"]: row for row in tables.read(tmp_path / "out" / "faces.parquet").to_dict("records")
    }
    upright = faces["photos/ardern/upright.png"]
    for name, roll in (("on_its_head", 180), ("on_its_side", 90)):
        turned = faces[f"photos/ardern/{name}.png"]
        difference = images.decode(turned["image"]).astype(int) - images.decode(upright["image"])
        assert np.abs(difference).mean() < 2, "the same crop"
        assert turned["yaw"] == pytest.approx(upright["yaw"], abs=0.5)
        assert (turned["roll"] - upright["roll"]) % 360 == pytest.approx(roll, abs=0.5)
    quarantine = tables.read(tmp_path / "out" / "quarantine.parquet").set_index("id")["reason"]
    assert quarantine["photos/ardern/blurred.png"].startswith("no way up does it look much like a face")


def test_side_views_can_be_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    _run(inputs, tmp_path / "out", Config(max_yaw=6.0))
    quarantine = tables.read(tmp_path / "out" / "quarantine.parquet").set_index("id")["reason"]
    assert "from the side" in quarantine["photos/macron/macron_2025.jpg"]


def test_the_number_of_processes_does_not_change_a_byte(inputs: dict[str, Path], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(aligned_faces, "CHUNK", 5)
    for name, workers in (("one", 1), ("two", 2)):
        _run(inputs, tmp_path / name, Config(), workers)
    for file in ("faces.parquet", "quarantine.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.fixture(scope="module")
def no_portraits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Everything but photos."""
    root = tmp_path_factory.mktemp("no_portraits")
    (root / "portraits").mkdir()
    tables.write(root / "portraits" / "portraits.parquet", [], small_tables.PORTRAITS)
    return {"embedded": small_tables.embedded(root / "embedded"), "portraits": root / "portraits"}


def _configured(*entries: dict[str, Any], **values: Any) -> Config:
    return Config(photo_sets=entries, **values)  # type: ignore[arg-type]


def test_published_sets_are_aligned_together(no_portraits: dict[str, Path], tmp_path: Path) -> None:
    """A labelled one, one with pairs and one in a pickle, beside the user's own photos."""
    photos = tmp_path / "photos"
    entries = [photo_trees.helen(photos), photo_trees.lfw(photos), photo_trees.verification_bin(photos)]
    photo_trees.write(photos / "sunak" / "sunak.jpg", photo_trees.jpeg(5))
    own = {"kind": "folder", "name": "photos", "path": "."}
    broken = photos / "lfw" / "lfw" / "Jacinda_Ardern" / "Jacinda_Ardern_0002.jpg"
    broken.write_bytes(b"no picture")
    out = tmp_path / "out"
    metrics = _run(no_portraits | {"photos": photos}, out, _configured(own, *entries))
    assert metrics == {
        "portraits": 0, "photos": 1, "helen": 3, "lfw": 3, "agedb_30": 6,
        "quarantined": 1, "quarantined_share": pytest.approx(1 / 14),
    }  # fmt: skip
    faces = tables.read(out / "faces.parquet").set_index("id")
    assert faces.loc["helen/1629243_1", "split"] == "train" and faces.loc["photos/sunak/sunak.jpg", "split"] == "test"
    assert faces["labels"].notna().sum() == 3 and set(faces["source"]) == {"photos", "helen", "lfw", "agedb_30"}
    marks = images.decode_labels(bytes(faces.loc["helen/1629243_1", "labels"]))  # type: ignore[arg-type]
    points = np.asarray(faces.loc["helen/1629243_1", "landmarks"]).reshape(68, 2)
    for name, part in (("left_eye", slice(42, 48)), ("right_eye", slice(36, 42)), ("nose", slice(31, 36))):
        x, y = points[part].mean(0).astype(int)
        assert CLASSES[marks[y - (name == "nose") * 8, x]] == name
    pairs = tables.read(out / "verification_pairs.parquet")
    assert list(pairs["source"].value_counts().sort_index().items()) == [("agedb_30", 4), ("lfw", 4)]
    quarantined = tables.read(out / "quarantine.parquet")["id"].tolist()
    assert quarantined == ["lfw/Jacinda_Ardern/Jacinda_Ardern_0002.jpg"]
    assert quarantined[0] in set(pairs["second"]) and set(pairs["first"]) <= set(faces.index)
    assert {path.name for path in out.iterdir()} == {
        "faces.parquet", "quarantine.parquet", "verification_pairs.parquet", "appearance_labels.parquet",
        "photos.png", "helen.png", "lfw.png", "agedb_30.png",
    }  # fmt: skip


def test_people_in_two_splits_are_an_error_or_left_out(no_portraits: dict[str, Path], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    entries = photo_trees.helen(photos), photo_trees.lapa(photos, train="HELEN_2908549_1_3")
    inputs = no_portraits | {"photos": photos}
    with pytest.raises(PhotoSetError, match="Helen:2908549_1"):
        _run(inputs, tmp_path / "refused", _configured(*entries))
    assert not list((tmp_path / "refused").iterdir())
    _run(inputs, tmp_path / "out", _configured(*entries, mixed_people="leave_out"))
    quarantine = tables.read(tmp_path / "out" / "quarantine.parquet")
    assert quarantine[["id", "reason"]].to_numpy().tolist() == [
        ["lapa/train/HELEN_2908549_1_3", "the same person is held out by another photo set"]
    ]


def test_the_face_that_a_set_means_is_taken(no_portraits: dict[str, Path], tmp_path: Path) -> None:
    """CelebA names the person at its landmarks, who need not be the largest in the photo."""
    photos = tmp_path / "photos"
    entry = photo_trees.celeba(photos)
    large, small = images.shrink(photo_trees.photo(0), 300)[0], images.shrink(photo_trees.photo(1), 200)[0]
    both = np.full((300, large.shape[1] + small.shape[1], 3), 128, np.uint8)
    both[: large.shape[0], : large.shape[1]] = large
    both[: small.shape[0], large.shape[1] :] = small
    (photos / "celeba" / "img_celeba" / "000001.jpg").write_bytes(images.encode_jpeg(both))
    marks = photos / "celeba" / "list_landmarks_celeba.txt"
    rows = marks.read_text().splitlines()
    points = five_points(photo_trees.landmarks(1)) * 200 / photo_trees.SIDE + (large.shape[1], 0)
    rows[2] = f"000001.jpg {' '.join(str(round(value)) for value in points.ravel())}"
    rows[3] = "000002.jpg" + " 3 3" * 5  # nobody is there
    marks.write_text("\n".join(rows))
    _run(no_portraits | {"photos": photos}, tmp_path / "out", _configured(entry))
    faces = tables.read(tmp_path / "out" / "faces.parquet").set_index("id")
    assert faces.loc["celeba/000001.jpg", "n_faces"] == 2
    same, other = (aligned_crop(number) for number in (1, 0))
    taken = images.decode(bytes(faces.loc["celeba/000001.jpg", "image"]))  # type: ignore[arg-type]
    assert np.abs(taken - same).mean() < 0.5 * np.abs(taken - other).mean()
    quarantine = tables.read(tmp_path / "out" / "quarantine.parquet").set_index("id")["reason"]
    assert quarantine.to_dict() == {"celeba/000002.jpg": "no face was found where the photo set has one"}


def aligned_crop(number: int) -> np.ndarray:
    """A portrait in the reference frame, as signed numbers."""
    crop = aligned_faces.align(photo_trees.photo(number), photo_trees.landmarks(number), 256)[0]
    return crop.astype(np.int16)


KILLED = """
import sys
from pathlib import Path
from stages import aligned_faces
from stages.context import Context
aligned_faces.CHUNK = 2
inputs = dict(zip(("embedded", "portraits", "photos"), map(Path, sys.argv[1:4])))
aligned_faces.run(inputs, aligned_faces.Config(), Path(sys.argv[4]), Context(checkpoints=Path(sys.argv[5])))
"""


def test_labels_and_points_of_a_photo_that_is_turned_by_exif_stay_on_its_face(
    no_portraits: dict[str, Path], tmp_path: Path
) -> None:
    """Stored as a phone stores it, with what its set says of it drawn on the pixels as they are stored."""
    made = {}
    for orientation in (1, 6, 3):
        photos = tmp_path / f"photos-{orientation}"
        sets = [photo_trees.lapa(photos), photo_trees.celeba(photos)]
        store_turned(photos, orientation)
        _run(
            no_portraits | {"photos": photos},
            tmp_path / f"out-{orientation}",
            Config.model_validate({"photo_sets": sets}),
        )
        faces = tables.read(tmp_path / f"out-{orientation}" / "faces.parquet").set_index("id")
        made[orientation] = faces
    for orientation in (6, 3):
        assert list(made[orientation].index) == list(made[1].index)
        for name, row in made[1].iterrows():
            turned = made[orientation].loc[name]
            assert np.abs(np.subtract(turned["landmarks"], row["landmarks"])).max() < 3
            if row["labels"] is not None:
                straight, other = (images.decode_labels(one["labels"]) for one in (row, turned))
                assert (straight == other).mean() > 0.97


def test_labels_that_lie_on_no_face_are_refused(no_portraits: dict[str, Path], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    sets = [photo_trees.lapa(photos)]
    for path in photos.rglob("*.jpg"):
        picture = Image.open(path)
        tags = Image.Exif()
        tags[0x0112] = 3
        picture.transpose(Image.Transpose.ROTATE_180).save(path, quality=95, exif=tags)
    for path in photos.rglob("labels/*.png"):
        labels = np.asarray(Image.open(path))
        path.write_bytes(images.encode_png(np.roll(labels, labels.shape[0] // 3, axis=0)))
    with pytest.raises(ValueError, match="no usable face"):
        _run(no_portraits | {"photos": photos}, tmp_path / "out", Config.model_validate({"photo_sets": sets}))
    reasons = tables.read(tmp_path / "out" / "quarantine.parquet")["reason"]
    assert len(reasons) == 3
    assert all("neither way" in reason or "no face was found" in reason for reason in reasons)


def test_a_photo_over_which_the_code_fails_is_its_own_reason(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, failed = aligned_faces.FaceLandmarker.find, []

    def fail_once(self: Any, image: np.ndarray) -> list:
        if not failed:
            failed.append(image)
            raise RuntimeError("nobody foresaw this")
        return find(self, image)

    monkeypatch.setattr(aligned_faces.FaceLandmarker, "find", fail_once)
    _run(inputs, tmp_path / "out", Config())
    reasons = tables.read(tmp_path / "out" / "quarantine.parquet")["reason"]
    assert "it cannot be aligned (RuntimeError: nobody foresaw this)" in list(reasons)


def store_turned(photos: Path, orientation: int) -> None:
    """Store every picture and label map below a folder as its camera would under an EXIF orientation, and turn CelebA's
    points with them.
    """
    back = {1: 1, 3: 3, 6: 8}[orientation]
    listed = photos / "celeba" / "list_landmarks_celeba.txt"
    count, names, *rows = listed.read_text().splitlines()
    for number, row in enumerate(rows):
        name, *values = row.split()
        points = np.array(values, float).reshape(-1, 2)
        height, width = images.decode_photo(photos / "celeba" / "img_celeba" / name).shape[:2]
        moved = [turn_point((x, y), height, width, back) for x, y in points]
        rows[number] = " ".join([name, *(str(round(value)) for point in moved for value in point)])
    listed.write_text("\n".join([count, names, *rows]) + "\n")
    tags = Image.Exif()
    tags[0x0112] = orientation
    for path in [*photos.rglob("*.jpg"), *photos.rglob("*.png")]:
        picture = Image.fromarray(turn(np.asarray(Image.open(path)), back))
        if path.suffix == ".jpg":
            picture.save(path, quality=95, exif=tags)
        else:
            picture.save(path)


def test_a_killed_alignment_goes_on_where_it_was(inputs: dict[str, Path], tmp_path: Path, monkeypatch) -> None:
    kept, out = tmp_path / "checkpoints", tmp_path / "out"
    out.mkdir()
    places = [inputs["embedded"], inputs["portraits"], inputs["photos"], out, kept]
    with subprocess.Popen([sys.executable, "-c", KILLED, *map(str, places)], cwd=ROOT) as process:
        deadline = time.monotonic() + 120
        while len(made := sorted(kept.rglob("*.parquet"))) < 2:
            assert process.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
            time.sleep(0.01)
        process.kill()
    made = {path: path.stat().st_mtime_ns for path in sorted(kept.rglob("*.parquet"))}
    assert 2 <= len(made) < 11 and not (out / "faces.parquet").exists()
    monkeypatch.setattr(aligned_faces, "CHUNK", 2)
    aligned_faces.run(inputs, Config(), out, Context(checkpoints=kept))
    assert {path: path.stat().st_mtime_ns for path in made} == made
    _run(inputs, tmp_path / "at_once", Config())
    for file in ("faces.parquet", "quarantine.parquet", "verification_pairs.parquet", "photos.png"):
        assert (out / file).read_bytes() == (tmp_path / "at_once" / file).read_bytes()


@pytest.fixture
def aligned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the photos that are aligned from now on."""
    align_one, seen = aligned_faces._align_one, []

    def noted(job: Any, *others: Any) -> dict[str, Any]:
        seen.append(job.photo.id)
        return align_one(job, *others)

    monkeypatch.setattr(aligned_faces, "_align_one", noted)
    return seen


def _run_cached(inputs: dict[str, Path], out: Path, cache: Path, config: Config) -> None:
    out.mkdir()
    aligned_faces.run(inputs, config, out, Context(cache=cache))


def _require_same(out: Path, other: Path) -> None:
    names = {path.name for path in out.iterdir()}
    assert names == {path.name for path in other.iterdir()} and "faces.parquet" in names
    assert [name for name in sorted(names) if (out / name).read_bytes() != (other / name).read_bytes()] == []


def test_a_new_photo_alone_is_aligned_and_all_files_are_those_of_a_run_from_nothing(
    inputs: dict[str, Path], tmp_path: Path, aligned: list[str]
) -> None:
    photos, cache = tmp_path / "photos", tmp_path / "cache"
    shutil.copytree(inputs["photos"], photos)
    inputs = inputs | {"photos": photos}
    _run_cached(inputs, tmp_path / "first", cache, Config())
    assert len(aligned) == 15, "each photo once: half of the portraits are there twice"
    aligned.clear()
    (photos / "abel").mkdir()
    mirrored = np.ascontiguousarray(images.decode_photo(photos / "obama" / "obama.jpg")[:, ::-1])
    (photos / "abel" / "new.png").write_bytes(images.encode_png(mirrored))
    (photos / "macron").rename(photos / "another_name")
    _run_cached(inputs, tmp_path / "second", cache, Config())
    assert aligned == ["photos/abel/new.png"]
    _run(inputs, tmp_path / "from_nothing", Config())
    _require_same(tmp_path / "second", tmp_path / "from_nothing")


def test_a_photo_is_aligned_again_when_its_labels_or_the_configuration_changed_and_only_then(
    no_portraits: dict[str, Path], tmp_path: Path, aligned: list[str]
) -> None:
    photos, cache = tmp_path / "photos", tmp_path / "cache"
    entry = photo_trees.lapa(photos)
    inputs, config = no_portraits | {"photos": photos}, _configured(entry)
    _run_cached(inputs, tmp_path / "1", cache, config)
    everything = sorted(aligned)
    aligned.clear()
    _run_cached(inputs, tmp_path / "smaller", cache, _configured(entry, size=128))
    assert sorted(aligned) == everything
    aligned.clear()
    marks = sorted(photos.rglob("labels/*.png"))[0]
    labels = np.asarray(Image.open(marks)).copy()
    labels[:8] = 10
    marks.write_bytes(images.encode_png(labels))
    _run_cached(inputs, tmp_path / "2", cache, config)
    assert [name.rpartition("/")[2] for name in aligned] == [marks.stem]
    _run(inputs, tmp_path / "from_nothing", config)
    _require_same(tmp_path / "2", tmp_path / "from_nothing")


def test_a_damaged_cache_costs_time_alone(no_portraits: dict[str, Path], tmp_path: Path, aligned: list[str]) -> None:
    photos, cache = tmp_path / "photos", tmp_path / "cache"
    inputs, config = no_portraits | {"photos": photos}, _configured(photo_trees.helen(photos))
    file = alignment_cache.file_in(cache)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no database" * 1000)
    for name, new in (("without", 3), ("filled_again", 3), ("with", 0)):
        _run_cached(inputs, tmp_path / name, cache, config)
        assert len(aligned) == new
        aligned.clear()
    _require_same(tmp_path / "with", tmp_path / "without")
