"""What must hold for every table, as suites of Great Expectations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import great_expectations.expectations as gxe
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from great_expectations.expectations.expectation import Expectation

from models.face_parts import CLASSES
from orchestration.checks import frames
from orchestration.checks.context import CheckContext
from orchestration.checks.gx import DataBatch, ExpectationResult, validate

SPLITS = ["train", "val", "test"]
SOURCE_NAME = r"^[a-z0-9][a-z0-9_-]*$"
DAY = r"^\d{4}-\d{2}-\d{2}$"
FOLDS = 10
LANDMARKS = 2 * 68
LEAST_FACE = 0.01
"""Share of a label map's pixels that are a face where there is one: of a face half covered, it is still several times
this.
"""


class CheckedTable:
    """A table of the version that is judged."""

    def __init__(self, context: CheckContext, file: str) -> None:
        self.context, self.path = context, context.folder / file

    def beside(self, file: str) -> Path:
        """Another file of the same version."""
        return self.context.folder / file

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All columns but pictures, and what can be computed of lists."""
        schema = self.context.schema
        return frames.read(self.path, schema.group_sizes if schema else None)

    @cached_property
    def copies(self) -> pd.DataFrame:
        """The real photos, each with another row that shows the same picture: as another person's (`also_as`), to train
        on as well (`also_trained_as`), in another split (`also_in`).
        """
        frame = self.frame.assign(picture=frames.digests(self.path))
        real = frame[(frame["source"] != "portraits") & (frame["picture"] != "")]
        real = real.assign(also_as=None, also_trained_as=None, also_in=None)
        for _, twins in real[real.duplicated("picture", keep=False)].groupby("picture"):
            for at, row in twins.iterrows():
                others = twins[twins["person"] != row["person"]]
                trained = others[others["split"] == "train"] if row["split"] == "train" else others[:0]
                elsewhere = twins[twins["split"] != row["split"]]
                for name, found in (("also_as", others), ("also_trained_as", trained), ("also_in", elsewhere)):
                    if len(found):
                        shown = found["split"] + " " if name == "also_in" else ""
                        real.loc[at, name] = (shown + found["id"]).iloc[0]
        return real

    @cached_property
    def pictures(self) -> pd.DataFrame:
        """A sample of the pictures, opened."""
        return frames.pictures(self.path, self.frame, self.context.rules.pictures)


@dataclass(frozen=True)
class Suite:
    """Expectations on one parquet file of a stage's folder."""

    file: str
    schema: str
    """Where the stage that writes them declares columns and their types, as module:NAME: stages are heavy to load."""
    batches: Callable[[CheckedTable], Iterator[DataBatch]]
    drift: tuple[str, ...] = ()
    """Columns that are compared with what production was made from."""


def evaluate(suite: Suite, context: CheckContext) -> tuple[list[ExpectationResult], dict[str, Any]]:
    """All findings on a table, and how much of it was looked at. Columns first: without them, nothing else is asked."""
    table = CheckedTable(context, suite.file)
    wanted = resolve_name(suite.schema)
    findings = validate(_columns(table.path, wanted))
    looked_at: dict[str, Any] = {"rows": pq.read_metadata(table.path).num_rows}
    if all(finding.passed for finding in findings):
        for data in suite.batches(table):
            findings += validate(data)
    if "pictures" in vars(table):
        looked_at["pictures_opened"] = len(table.pictures)
    return findings, looked_at


def _columns(path: Path, wanted: pa.Schema) -> DataBatch:
    frame, names = frames.columns(path), wanted.names
    known = frame[frame["column"].isin(names)]
    return DataBatch(
        known,
        [
            gxe.ExpectColumnDistinctValuesToContainSet(column="column", value_set=names),
            gxe.ExpectColumnPairValuesToBeInSet(
                column_A="column",
                column_B="type",
                value_pairs_set=[(field.name, frames.type_name(field.type)) for field in wanted],
            ),
        ],
        "columns and types",
    )


def between(column: str, low: float | None, high: float | None, about: str = "") -> Expectation:
    """Values lie in a range; None is no limit."""
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high, meta={"about": about})


def not_null(*columns: str) -> list[Expectation]:
    """No value of these columns is missing."""
    return [gxe.ExpectColumnValuesToNotBeNull(column=column) for column in columns]


def is_null(column: str, about: str, mostly: float = 1.0) -> Expectation:
    """A column has no value, in at least this share of the rows."""
    return gxe.ExpectColumnValuesToBeNull(column=column, mostly=mostly, meta={"about": about})


def one_of(column: str, values: Sequence[Any], about: str = "") -> Expectation:
    """Each value is one of these."""
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(values), meta={"about": about})


def all_equal(column: str, about: str = "") -> Expectation:
    """All values of a column are the same."""
    return gxe.ExpectColumnUniqueValueCountToBeBetween(column=column, max_value=1, meta={"about": about})


def _rows() -> list[Expectation]:
    """Any table of examples: there are some, each has an id of its own and a split, and some are to train on."""
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        gxe.ExpectColumnValuesToBeUnique(column="id"),
        *not_null("id", "split"),
        one_of("split", SPLITS),
        gxe.ExpectColumnDistinctValuesToContainSet(column="split", value_set=["train"]),
    ]


def _people(frame: pd.DataFrame) -> DataBatch:
    """Nobody is in two splits."""
    splits = frame.groupby("person")["split"].transform("nunique")
    return DataBatch(
        frame.assign(splits_of_person=splits),
        [*not_null("person"), between("splits_of_person", 1, 1, "each person is in one split")],
    )


def _parameters(table: CheckedTable) -> list[Expectation]:
    """Sliders in [0, 1] and choices that their groups have, as many as the character has; without its schema, equally
    many in each row.
    """
    schema = table.context.schema
    expected = [
        between("parameters_lowest", 0, None, "sliders lie in [0, 1]"),
        between("parameters_highest", None, 1, "sliders lie in [0, 1]"),
        one_of("parameters_finite", [True], "sliders are finite"),
        between("discrete_lowest", 0, None, "choices count from 0"),
    ]
    if schema is None:
        lengths = [all_equal(f"{name}_length", "each row has as many") for name in ("parameters", "discrete")]
        return [*expected, *lengths]
    return [
        *expected,
        *not_null("parameters_length", "discrete_length"),
        one_of("parameters_length", [schema.n_sliders], f"the sliders of {schema.name}"),
        one_of("discrete_length", [len(schema.groups)], f"the groups of {schema.name}"),
        one_of("discrete_outside", [0], f"each choice is one of its group of {schema.name}"),
    ]


def _pictures(table: CheckedTable) -> DataBatch:
    """A sample of pictures and label maps, opened; of an empty table there is none, and nothing is asked."""
    if table.frame.empty:
        return DataBatch(table.frame, [])
    frame, size = table.pictures, table.context.config.get("size")
    side = frame["image_width"] if size is None else size
    maps = frame["labels_width"].notna()
    aside = frame.assign(
        image_fits=(frame["image_height"] == side) & (frame["image_width"] == side),
        labels_fit=((frame["labels_height"] == side) & (frame["labels_width"] == side)).where(maps),
    )
    wanted = f"{size} × {size} pixels" if size else "as high as wide"
    return DataBatch(
        aside,
        [
            is_null("image_error", "each picture can be opened"),
            one_of("image_fits", [True], f"each picture has {wanted}"),
            is_null("labels_error", "each label map can be opened"),
            one_of("labels_fit", [True], "each label map has the picture's size"),
            between("labels_highest", 0, len(CLASSES) - 1, "label maps hold known classes"),
            between("face_share", LEAST_FACE, None, "there is a face in each label map"),
        ],
        f"{len(aside)} pictures",
    )


def _portraits(table: CheckedTable) -> Iterator[DataBatch]:
    numbers = ("yaw", "pitch", "roll", "occluded", "exposure", "blur")
    yield DataBatch(
        table.frame,
        [
            *_rows(),
            *_parameters(table),
            *_landmarks(),
            *not_null(*numbers),
            between("yaw", -90, 90),
            between("pitch", -90, 90),
            between("roll", -180, 180),
            between("occluded", 0, 1),
            between("exposure", 0, None),
            between("blur", 0, None),
        ],
    )
    yield _people(table.frame)
    yield _pictures(table)


def _landmarks() -> list[Expectation]:
    return [
        *not_null("landmarks_length"),
        one_of("landmarks_length", [LANDMARKS], "68 points"),
        one_of("landmarks_finite", [True], "points are finite"),
    ]


def _faces(table: CheckedTable) -> Iterator[DataBatch]:
    yield DataBatch(
        table.frame,
        [
            *_rows(),
            *_parameters(table),
            *_landmarks(),
            *not_null("source", "yaw", "pitch", "roll", "sharpness", "brightness", "n_faces"),
            gxe.ExpectColumnValuesToMatchRegex(column="source", regex=SOURCE_NAME),
            between("yaw", -90, 90),
            between("pitch", -90, 90),
            between("roll", -180, 180),
            between("sharpness", 0, None),
            between("brightness", 0, 1),
            between("n_faces", 1, 1000),
        ],
    )
    yield _people(table.frame)
    yield _one_person_each(table)
    yield _pictures(table)


def _one_person_each(table: CheckedTable) -> DataBatch:
    """Of the photos to train on, next to none is there as another person's too: one face would be taught as two."""
    train = table.copies[table.copies["split"] == "train"]
    if train.empty:
        return DataBatch(train, [])
    level, about = table.context.rules.one_photo_two_people, "no photo to train on is there as another person's too"
    return DataBatch(
        train,
        [is_null("also_trained_as", about, 1 - level)],
        f"{len(train)} photos to train on",
    )


def _copies(table: CheckedTable) -> Iterator[DataBatch]:
    yield DataBatch(
        table.copies,
        [
            is_null(column, about)
            for column, about in (
                ("also_as", "no photo is there as another person's too"),
                ("also_in", "no photo is in another split too"),
            )
            if len(table.copies)
        ],
        "real photos with the same picture",
    )


def _unusable(table: CheckedTable) -> Iterator[DataBatch]:
    """The photos of each source of which too many could not be used; who is held out elsewhere could be."""
    from stages.aligned_faces import HELD_OUT

    kept = pq.read_table(table.beside("faces.parquet"), columns=["source"]).to_pandas()["source"].value_counts()
    refused = table.frame[(table.frame["reason"] != HELD_OUT) & (table.frame["source"] != "portraits")]
    for source, rows in refused.groupby("source"):
        total, level = len(rows) + int(kept.get(source, 0)), table.context.rules.unusable
        # One photo is no share: its row of the quarantine says enough.
        if len(rows) > max(1, level * total):
            yield DataBatch(
                rows.assign(unusable=rows["reason"]),
                [is_null("unusable", f"at most {level:.0%} may be")],
                f"{len(rows)} of {total} photos of {source} could not be used",
            )


def _pairs(table: CheckedTable) -> Iterator[DataBatch]:
    yield DataBatch(table.frame, [*_rows(), *_parameters(table)])
    yield _pictures(table)


def _quarantine(kept: str) -> Callable[[CheckedTable], Iterator[DataBatch]]:
    """Rows that are missing from the table `kept`: each with its reason, and not too many."""

    def batches(table: CheckedTable) -> Iterator[DataBatch]:
        yield DataBatch(
            table.frame,
            [
                gxe.ExpectColumnValuesToBeUnique(column="id"),
                *not_null("id", "source", "reason"),
                gxe.ExpectColumnValueLengthsToBeBetween(column="reason", min_value=1),
            ],
        )
        yield _shares(table, kept)

    return batches


def _shares(table: CheckedTable, kept: str) -> DataBatch:
    """A row for all photos, and one for each source that has enough."""
    rules, path = table.context.rules, table.beside(kept)
    counts = pd.DataFrame({"quarantined": [len(table.frame)], "kept": [pq.read_metadata(path).num_rows]}, ["all"])
    if "source" in pq.read_schema(path).names:
        sources = pq.read_table(path, columns=["source"]).to_pandas()["source"]
        by_source = {"quarantined": table.frame["source"].value_counts(), "kept": sources.value_counts()}
        each = pd.DataFrame(by_source).fillna(0)
        counts = pd.concat([counts, each[each.sum(axis=1) >= rules.quarantined_from]])
    frame = counts.rename_axis("source").reset_index()
    frame["share_quarantined"] = frame["quarantined"] / (frame["quarantined"] + frame["kept"]).clip(lower=1)
    return DataBatch(frame, [between("share_quarantined", 0, rules.quarantined)], "photos, all and by source")


def _corrections(table: CheckedTable) -> Iterator[DataBatch]:
    """Consent, both states by the character's schema, no character twice, and encoders whose directions are beside."""
    frame, schema = table.frame, table.context.schema
    if frame.empty:  # nobody has corrected anything yet
        return
    folder = table.beside("readers")
    readers = sorted(path.stem for path in folder.glob("*.safetensors"))
    before = [f"before_{name}" for name in ("lowest", "highest", "finite")]
    yield DataBatch(
        frame.assign(splits_of_player=frame.groupby(frame["player"].fillna(frame["id"]))["split"].transform("nunique")),
        [
            gxe.ExpectColumnValuesToBeUnique(column="id", meta={"about": "no character is there twice"}),
            *not_null("id", "split", "consent", "day", "version", "run", "encoder", "recogniser", "features_length"),
            one_of("consent", [True], "the player agreed"),
            one_of("split", SPLITS),
            between("splits_of_player", 1, 1, "each player is in one split"),
            gxe.ExpectColumnValuesToMatchRegex(column="day", regex=DAY, meta={"about": "to the day, and no finer"}),
            one_of("encoder", readers, "the encoder is known"),
            one_of("features_finite", [True], "what the encoder read is finite"),
            *_parameters(table),
            *not_null(*before),
            between("before_lowest", 0, None, "sliders lie in [0, 1]"),
            between("before_highest", None, 1, "sliders lie in [0, 1]"),
            *(_as_before(schema.n_sliders, len(schema.groups)) if schema else ()),
        ],
    )


def _as_before(sliders: int, groups: int) -> list[Expectation]:
    expected = [one_of("before_length", [sliders], "as many sliders before as after")]
    return [*expected, one_of("before_discrete_length", [groups]), one_of("before_discrete_outside", [0])]


def _corrections_set_aside(table: CheckedTable) -> Iterator[DataBatch]:
    """Each with its reason; how many there are is no fault of the others."""
    expected = [gxe.ExpectColumnValuesToBeUnique(column="id"), *not_null("id", "source", "reason")]
    yield DataBatch(table.frame, [*expected, gxe.ExpectColumnValueLengthsToBeBetween(column="reason", min_value=1)])


def _verification_pairs(table: CheckedTable) -> Iterator[DataBatch]:
    known = pd.concat([pq.read_table(table.beside(name), columns=["id"]).to_pandas()["id"] for name in LISTED_IN])
    frame = table.frame
    looked_up = {f"{name}_is_listed": frame[name].isin(known) for name in ("first", "second")}
    yield DataBatch(
        frame.assign(**looked_up, two_photos=frame["first"] != frame["second"]),
        [
            *not_null("source", "fold", "first", "second", "same"),
            gxe.ExpectColumnValuesToMatchRegex(column="source", regex=SOURCE_NAME),
            between("fold", 0, FOLDS - 1),
            *(one_of(name, [True], f"its id is in {' or '.join(LISTED_IN)}") for name in looked_up),
            one_of("two_photos", [True], "no photo is compared with itself"),
        ],
    )


LISTED_IN = ("faces.parquet", "quarantine.parquet")


TABLES = "stages.data.tables"
SUITES = {
    "portraits": Suite(
        "portraits.parquet", "stages.portraits:SCHEMA", _portraits, drift=("exposure", "yaw", "pitch", "blur")
    ),
    "faces": Suite(
        "faces.parquet", f"{TABLES}:FACES_SCHEMA", _faces, drift=("brightness", "yaw", "pitch", "sharpness")
    ),
    "quarantine": Suite("quarantine.parquet", f"{TABLES}:QUARANTINE_SCHEMA", _quarantine("faces.parquet")),
    "copies": Suite("faces.parquet", f"{TABLES}:FACES_SCHEMA", _copies),
    "unusable": Suite("quarantine.parquet", f"{TABLES}:QUARANTINE_SCHEMA", _unusable),
    "verification_pairs": Suite(
        "verification_pairs.parquet", f"{TABLES}:VERIFICATION_PAIRS_SCHEMA", _verification_pairs
    ),
    "pairs": Suite("pairs.parquet", "stages.rendered_pairs:SCHEMA", _pairs),
    "corrections": Suite("corrections.parquet", "stages.corrections:SCHEMA", _corrections),
    "corrections_set_aside": Suite("set_aside.parquet", f"{TABLES}:QUARANTINE_SCHEMA", _corrections_set_aside),
    "set_aside": Suite("quarantine.parquet", f"{TABLES}:QUARANTINE_SCHEMA", _quarantine("pairs.parquet")),
}
