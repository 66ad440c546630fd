"""Tables that break an expectation fail a check, and it says which and shows the rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from orchestration import checks
from orchestration.checks import frames, report
from orchestration.config.check_rules import Rules
from orchestration.config.settings import Settings
from orchestration.storage.run_pictures import RunPictures
from orchestration.storage.tracking import Tracking
from stages.aligned_faces import HELD_OUT
from stages.data import tables
from tests.orchestration import good_tables as good
from tests.orchestration.good_tables import face, label_map, pair, picture, refused, verification_pair

COUNT = 6


def failed(asset: str, folder: Path, rules: Rules | None = None, warnings: bool = False) -> dict[str, str]:
    """Descriptions of the failed checks: those that stop the pipeline, or all of them."""
    found = checks.run_all(good.context(asset, folder, rules))
    return {
        str(result.check_name): str(result.description)
        for result in found
        if not result.passed and (warnings or result.severity == dg.AssetCheckSeverity.ERROR)
    }


@pytest.mark.slow
@pytest.mark.parametrize("asset", good.MAKERS)
def test_good_tables_pass(tmp_path: Path, asset: str) -> None:
    _, make = good.MAKERS[asset]
    others: dict[str, Any] = {"quarantine": [refused(0)]}
    if asset == "aligned_faces":
        others["verification_pairs"] = [verification_pair("portraits/0", "q0", fold=9, same=False)]
    assert failed(asset, good.write(tmp_path, asset, [make(number) for number in range(COUNT)], **others)) == {}


def sliders(first: float, length: int = good.SCHEMA.n_sliders) -> list[float]:
    return [first, *[0.5] * (length - 1)]


NAN = float("nan")
BROKEN_EXAMPLES = [
    ({"id": "portraits/0"}, "be_unique id"),
    ({"id": None}, "not_be_null id"),
    ({"split": "holdout"}, "be_in_set split"),
    ({"split": None}, "not_be_null split"),
    ({"parameters": sliders(1.5)}, "be_between parameters_highest"),
    ({"parameters": sliders(-0.1)}, "be_between parameters_lowest"),
    ({"parameters": sliders(NAN)}, "be_in_set parameters_finite"),
    ({"parameters": sliders(0.5, 3)}, "parameters_length"),
    ({"discrete": [0, 1]}, "discrete_length"),
    ({"discrete": [-1, *[0] * (len(good.SCHEMA.groups) - 1)]}, "be_between discrete_lowest"),
    ({"image": b"no picture"}, "be_null image_error"),
    ({"image": picture()[:200]}, "be_null image_error"),
    ({"image": None}, "be_null image_error"),
    ({"image": picture(size=16)}, "be_in_set image_fits"),
    ({"labels": b"no label map"}, "be_null labels_error"),
    ({"labels": label_map(size=16)}, "be_in_set labels_fit"),
    ({"labels": label_map(highest=11)}, "be_between labels_highest"),
    ({"labels": label_map(face=False)}, "be_between face_share"),
]
OF_ONE_CHARACTER = [
    ({"parameters": None}, "not_be_null parameters_length"),
    ({"discrete": None}, "not_be_null discrete_length"),
    ({"discrete": [99, *[0] * (len(good.SCHEMA.groups) - 1)]}, "be_in_set discrete_outside"),
]
OF_PEOPLE = [
    ({"person": "0", "split": "test"}, "be_between splits_of_person"),
    ({"person": None}, "not_be_null person"),
    ({"landmarks": [0.5] * 134}, "be_in_set landmarks_length"),
    ({"landmarks": [NAN] * 136}, "be_in_set landmarks_finite"),
    ({"landmarks": None}, "not_be_null landmarks_length"),
    ({"yaw": 170.0}, "be_between yaw"),
    ({"yaw": NAN}, "not_be_null yaw"),
    ({"pitch": -91.0}, "be_between pitch"),
    ({"pitch": None}, "not_be_null pitch"),
    ({"roll": 181.0}, "be_between roll"),
    ({"roll": None}, "not_be_null roll"),
]
OF_PORTRAITS = [
    ({"occluded": 1.5}, "be_between occluded"),
    ({"occluded": None}, "not_be_null occluded"),
    ({"exposure": -1.0}, "be_between exposure"),
    ({"exposure": None}, "not_be_null exposure"),
    ({"blur": -1.0}, "be_between blur"),
    ({"blur": None}, "not_be_null blur"),
]
OF_FACES = [
    ({"source": "Celeb A"}, "match_regex source"),
    ({"source": None}, "not_be_null source"),
    ({"sharpness": -1.0}, "be_between sharpness"),
    ({"sharpness": None}, "not_be_null sharpness"),
    ({"brightness": 1.5}, "be_between brightness"),
    ({"brightness": None}, "not_be_null brightness"),
    ({"n_faces": 0}, "be_between n_faces"),
    ({"n_faces": None}, "not_be_null n_faces"),
]
BROKEN = [
    *(("portraits", "portraits_table", *case) for case in BROKEN_EXAMPLES + OF_ONE_CHARACTER + OF_PEOPLE),
    *(("portraits", "portraits_table", *case) for case in OF_PORTRAITS),
    *(("aligned_faces", "faces_table", *case) for case in BROKEN_EXAMPLES + OF_PEOPLE + OF_FACES),
    *(("rendered_pairs", "pairs_table", *case) for case in BROKEN_EXAMPLES + OF_ONE_CHARACTER),
]


@pytest.mark.slow
@pytest.mark.parametrize(("asset", "check", "values", "reason"), BROKEN)
def test_each_broken_expectation_is_named(
    tmp_path: Path, asset: str, check: str, values: dict[str, Any], reason: str
) -> None:
    _, make = good.MAKERS[asset]
    rows = [*(make(number) for number in range(COUNT)), make(9, **values)]
    found = failed(asset, good.write(tmp_path, asset, rows))
    assert list(found) == [check]
    assert reason in found[check]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "row_count_to_be_between: 0, expected min_value: 1"),
        ([face(1), face(2)], "distinct_values_to_contain_set split: missing: train"),
    ],
)
def test_a_table_without_rows_to_train_on_fails(tmp_path: Path, rows: list[good.Row], reason: str) -> None:
    assert reason in failed("aligned_faces", good.write(tmp_path, "aligned_faces", rows))["faces_table"]


def test_a_missing_column_is_named_and_nothing_else_is_asked(tmp_path: Path) -> None:
    good.write(tmp_path, "aligned_faces", [])
    good.write_with_schema(tmp_path / "faces.parquet", [face(0)], yaw=None)
    assert failed("aligned_faces", tmp_path) == {
        "faces_table": "expect_column_distinct_values_to_contain_set column (columns and types): missing: yaw, "
        "first value: yaw"
    }


def test_a_column_of_another_type_is_named(tmp_path: Path) -> None:
    good.write(tmp_path, "aligned_faces", [])
    good.write_with_schema(tmp_path / "faces.parquet", [face(0, yaw="left")], yaw=pa.string())
    assert "('yaw', 'string')" in failed("aligned_faces", tmp_path)["faces_table"]


def test_any_photo_set_may_be_a_source(tmp_path: Path) -> None:
    rows = [face(0, source="celeba"), face(1, source="agedb_30", parameters=None, discrete=None, labels=None)]
    assert failed("aligned_faces", good.write(tmp_path, "aligned_faces", rows)) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (verification_pair("portraits/0", "portraits/7"), "be_in_set second_is_listed"),
        (verification_pair("portraits/7", "portraits/0"), "be_in_set first_is_listed"),
        (verification_pair("portraits/1", "portraits/1"), "be_in_set two_photos"),
        (verification_pair("portraits/0", "portraits/1", fold=10), "be_between fold"),
        (verification_pair("portraits/0", "portraits/1", fold=None), "not_be_null fold"),
        (verification_pair("portraits/0", "portraits/1", same=None), "not_be_null same"),
        (verification_pair("portraits/0", "portraits/1", source="L F W"), "match_regex source"),
        (verification_pair("portraits/0", "portraits/1", source=None), "not_be_null source"),
    ],
)
def test_each_broken_verification_pair_is_named(tmp_path: Path, broken: good.Row, reason: str) -> None:
    pairs = [verification_pair("portraits/0", "portraits/1"), broken]
    rows = [face(number) for number in range(3)]
    found = failed("aligned_faces", good.write(tmp_path, "aligned_faces", rows, verification_pairs=pairs))
    assert reason in found["verification_pairs_table"]


@pytest.mark.slow
@pytest.mark.parametrize(("asset", "check"), [("aligned_faces", "quarantine"), ("rendered_pairs", "set_aside")])
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (refused(0), "be_unique id"),
        (refused(9, id=None), "not_be_null id"),
        (refused(9, source=None), "not_be_null source"),
        (refused(9, reason=None), "not_be_null reason"),
        (refused(9, reason=""), "value_lengths_to_be_between reason"),
    ],
)
def test_each_broken_row_of_the_quarantine_is_named(
    tmp_path: Path, asset: str, check: str, broken: good.Row, reason: str
) -> None:
    _, make = good.MAKERS[asset]
    rows = [make(number) for number in range(COUNT)]
    found = failed(asset, good.write(tmp_path, asset, rows, quarantine=[refused(0), broken]))
    assert list(found) == [f"{check}_table"] and reason in found[f"{check}_table"]


@pytest.mark.slow
@pytest.mark.parametrize(("asset", "check"), [("aligned_faces", "quarantine"), ("rendered_pairs", "set_aside")])
def test_too_many_quarantined_photos_fail(tmp_path: Path, asset: str, check: str) -> None:
    _, make = good.MAKERS[asset]
    folder = good.write(tmp_path, asset, [make(0)], quarantine=[refused(0), refused(1)])
    assert "share_quarantined" in failed(asset, folder)[f"{check}_table"]
    assert failed(asset, folder, Rules(quarantined=0.7)) == {}


@pytest.mark.slow
def test_a_photo_set_that_is_refused_as_a_whole_fails_beside_many_good_portraits(tmp_path: Path) -> None:
    rows = [face(number) for number in range(60)]
    folder = good.write(tmp_path, "aligned_faces", rows, quarantine=[refused(k, source="lfw") for k in range(20)])
    assert failed("aligned_faces", folder) == {}, "a set so small is not judged by itself"
    found = failed("aligned_faces", folder, Rules(quarantined_from=20))
    assert "share_quarantined" in found["quarantine_table"]


@pytest.mark.slow
def test_failing_rows_are_in_the_metadata_with_their_number_and_pictures(tmp_path: Path, settings: Settings) -> None:
    rows = [face(0), face(3, yaw=120.0), *(face(10 + k, yaw=100.0, source="photos", split="val") for k in range(50))]
    tracking = Tracking.of(settings)
    with tracking.run("aligned_faces", {}) as run:
        pictures = RunPictures(tracking, run.run_id)
    context = good.context("aligned_faces", good.write(tmp_path, "aligned_faces", rows))
    result = checks.run_all(replace(context, pictures=pictures))[0]
    shown = good.records(result, report.FAILING_ROWS)
    assert shown[0] == {
        "id": "portraits/3",
        "source": "portraits",
        "person": "3",
        "column": "yaw",
        "value": "120",
        "expectation": "expect_column_values_to_be_between",
    }
    assert len(shown) == 20 and result.metadata[report.FAILING_COUNT].value == 51
    assert result.metadata["pictures"] == pictures.link("failing_rows/faces_table.png")
    sheet = settings.model_files / run.run_id / "artifacts" / "failing_rows" / "faces_table.png"
    assert Image.open(sheet).width == 8 * report.PICTURE_SIDE + 7 * 4, "four pixels between two"
    summary = {(e["expectation"], e["column"]): e for e in good.records(result, report.EXPECTATIONS)}
    assert summary["expect_column_values_to_be_between", "yaw"]["observed"] == "51 of 52 rows fail"
    assert sum(not entry["ok"] for entry in summary.values()) == 1


def test_a_good_table_shows_what_was_looked_at_and_no_rows(tmp_path: Path) -> None:
    folder = good.write(tmp_path, "rendered_pairs", [pair(number) for number in range(40)])
    result = checks.run_all(good.context("rendered_pairs", folder, Rules(pictures=16)))[0]
    assert report.FAILING_ROWS not in result.metadata and "pictures" not in result.metadata
    assert result.metadata["rows"].value == 40 and result.metadata["pictures_opened"].value == 16


def test_a_table_that_cannot_be_read_fails_its_check_and_raises_nothing(tmp_path: Path) -> None:
    folder = good.write(tmp_path, "aligned_faces", [face(0)])
    (folder / "faces.parquet").write_bytes(b"not parquet")
    assert "check_runs" in failed("aligned_faces", folder)["faces_table"]


def test_pictures_are_sampled_from_every_source_and_always_the_same(tmp_path: Path) -> None:
    rows = [face(number) for number in range(1500)] + [face(2000 + k, source="photos") for k in range(3)]
    path = good.write(tmp_path, "aligned_faces", rows) / "faces.parquet"
    frame = frames.read(path)
    chosen = frames.sample(path, frame, 64)
    assert chosen == frames.sample(path, frame, 64)
    assert {1500, 1501, 1502} <= set(chosen)
    assert 30 < len(chosen) < 70 and chosen[0] < 100 and chosen[-4] > 1400, "from the whole length of the table"
    ids = [row["id"] for row in frames.pick(path, chosen, ["id"])]
    assert ids == frame["id"].iloc[chosen].tolist()


def test_lists_are_described_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    rows = [pair(0, parameters=[0.25, 0.75]), pair(1, parameters=None), pair(2, parameters=[]), pair(3)]
    tables.write(path, rows, good.SCHEMAS[path.name])
    frame = frames.read(path)
    assert frame["parameters_length"].tolist()[0] == 2 and np.isnan(frame["parameters_length"][1])
    assert (frame["parameters_lowest"][0], frame["parameters_highest"][0]) == (0.25, 0.75)
    assert frame["parameters_length"][2] == 0 and np.isnan(frame["parameters_lowest"][2])
    assert frame["parameters_length"][3] == good.SCHEMA.n_sliders


def test_an_unknown_rule_is_an_error_that_names_it(tmp_path: Path) -> None:
    from orchestration.config.catalog import STAGES
    from orchestration.config.profiles import ProfileError, resolve_checks

    profile = tmp_path / "own.yaml"
    profile.write_text("checks: {metrics: {imitator: {psnr: {marjin: 1}}}}\n")
    with pytest.raises(ProfileError, match=r"metrics.imitator.psnr.marjin"):
        resolve_checks(str(profile), STAGES)
    profile.write_text("checks: {metrics: {imitater: {}}}\n")
    with pytest.raises(ProfileError, match="imitater"):
        resolve_checks(str(profile), STAGES)
    profile.write_text("checks: {metrics: {imitator: {psnr: {margin: 3}}}}\n")
    rule = resolve_checks(str(profile), STAGES).metrics_of("imitator")["psnr"]
    assert (rule.margin, rule.baseline) == (3.0, "psnr_mean_picture"), "the rest stays as it is in the code"


def test_a_changed_threshold_changes_no_stages_code_version(tmp_path: Path) -> None:
    from orchestration.config.catalog import STAGES
    from orchestration.config.profiles import code_version, resolve

    profile = tmp_path / "own.yaml"
    profile.write_text("checks: {metrics: {imitator: {psnr: {margin: 3}}}, quarantined: 0.1}\n")
    own = resolve(str(profile), STAGES)
    profile.write_text("{}\n")
    plain = resolve(str(profile), STAGES)
    for stage in STAGES:
        assert code_version(stage, own[stage.name]) == code_version(stage, plain[stage.name])


def photos(*rows: tuple[str, str, str, int]) -> list[dict[str, Any]]:
    """Real photos (id, person, split, level of grey) beside portraits."""
    own = [
        face(9, id=f"photos/{name}", source="photos", person=person, split=split, image=picture(level))
        for name, person, split, level in rows
    ]
    return [*(face(number) for number in range(COUNT)), *own]


def test_a_photo_of_two_people_to_train_on_blocks_and_both_are_named(tmp_path: Path) -> None:
    rows = photos(("ann/1", "ann", "train", 90), ("bob/1", "bob", "train", 90), ("bob/2", "bob", "train", 60))
    found = failed("aligned_faces", good.write(tmp_path, "aligned_faces", rows), warnings=True)
    assert set(found) == {"faces_table", "copies"}
    assert "also_trained_as" in found["faces_table"] and "2 of 3 rows fail" in found["faces_table"]
    assert "first id: photos/ann/1, value: photos/bob/1" in found["faces_table"]


def test_a_photo_of_two_people_who_are_scored_warns(tmp_path: Path) -> None:
    rows = photos(("ann/1", "ann", "test", 90), ("bob/1", "bob", "test", 90))
    found = failed("aligned_faces", good.write(tmp_path, "aligned_faces", rows), warnings=True)
    assert set(found) == {"copies"} and "first id: photos/ann/1, value: photos/bob/1" in found["copies"]


def test_a_photo_in_two_splits_warns_and_says_in_which(tmp_path: Path) -> None:
    rows = photos(("ann/1", "ann", "train", 90), ("bob/1", "bob", "test", 90))
    found = failed("aligned_faces", good.write(tmp_path, "aligned_faces", rows), warnings=True)
    assert set(found) == {"copies"} and "value: test photos/bob/1" in found["copies"]


def test_two_copies_of_one_persons_photo_are_no_fault(tmp_path: Path) -> None:
    rows = photos(("ann/1", "ann", "test", 90), ("ann/2", "ann", "test", 90))
    assert failed("aligned_faces", good.write(tmp_path, "aligned_faces", rows), warnings=True) == {}


def test_the_profile_says_how_many_photos_of_two_people_training_bears(tmp_path: Path) -> None:
    rows = photos(("ann/1", "ann", "train", 90), ("bob/1", "bob", "train", 90), ("bob/2", "bob", "train", 60))
    folder = good.write(tmp_path, "aligned_faces", rows)
    assert set(failed("aligned_faces", folder, Rules(one_photo_two_people=0.7), warnings=True)) == {"copies"}


@pytest.mark.slow
def test_many_unusable_photos_of_a_source_warn_and_are_listed(tmp_path: Path) -> None:
    rows = photos(*((f"ann/{number}", "ann", "test", 10 * number) for number in range(5)))
    bad = [refused(number, id=f"photos/ann/bad{number}", reason="unreadable: damaged") for number in range(3)]
    folder = good.write(tmp_path, "aligned_faces", rows, quarantine=bad)
    found = failed("aligned_faces", folder, warnings=True)
    assert set(found) == {"unusable"} and "3 of 8 photos of photos could not be used" in found["unusable"]
    assert "first id: photos/ann/bad0, value: unreadable: damaged" in found["unusable"]
    assert failed("aligned_faces", folder, Rules(unusable=0.4), warnings=True) == {}


def test_who_is_held_out_elsewhere_is_no_unusable_photo(tmp_path: Path) -> None:
    rows = photos(("ann/1", "ann", "test", 90))
    bad = [refused(number, reason=HELD_OUT) for number in range(3)]
    folder = good.write(tmp_path, "aligned_faces", rows, quarantine=bad)
    assert "unusable" not in failed("aligned_faces", folder, warnings=True)
