"""What alignment made of each photo, kept for the next run: a new photo does not have all others aligned again.

A result is kept by the md5 of the photo and by a digest of all else that it follows from (`rest`). It lies in one
SQLite file, with nothing of whose photo it is or where it lay: that is what a run says of the photos it wants. What
none of the last few runs wanted is deleted, so the file stays as large as what they needed; `erase` takes out what
shows certain photos. It may be deleted as a whole at any time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

KEPT = 3
"""Runs: a result that none of the last so many wanted is deleted."""
PATIENCE = 60.0
"""Seconds to wait for another process that writes."""
AT_ONCE = 500
"""md5s in one question."""
NUMBERS = ("yaw", "pitch", "roll", "sharpness", "brightness")
RESULT_SCHEMA = pa.schema(
    [
        ("photo", pa.string()),
        ("rest", pa.string()),
        ("lasting", pa.bool_()),
        ("reason", pa.string()),
        ("image", pa.binary()),
        ("labels", pa.binary()),
        *((name, pa.float32()) for name in NUMBERS),
        ("n_faces", pa.int32()),
        ("landmarks", pa.list_(pa.float32())),
    ]
)
"""What alignment makes of one photo. A refused one has nothing but its key and the reason; what is not `lasting` may
come out otherwise the next time, and is kept for this run alone.
"""

_TABLES = """
CREATE TABLE IF NOT EXISTS results (
    photo TEXT, rest TEXT, reason TEXT, image BLOB, labels BLOB, n_faces INTEGER, numbers BLOB,
    PRIMARY KEY (photo, rest)
);
CREATE TABLE IF NOT EXISTS uses (photo TEXT, rest TEXT, run INTEGER, PRIMARY KEY (photo, rest)) WITHOUT ROWID;
CREATE TEMP TABLE wanted (
    number INTEGER PRIMARY KEY, id TEXT, source TEXT, person TEXT, split TEXT, parameters BLOB, discrete BLOB,
    photo TEXT, rest TEXT, refused TEXT
);
CREATE INDEX temp.wanted_key ON wanted (photo, rest);
"""
_ROWS = """
SELECT id, source, person, split, parameters, discrete, coalesce(refused, reason), image, labels, n_faces, numbers
FROM wanted LEFT JOIN results USING (photo, rest) ORDER BY number
"""
_OLD = "(photo, rest) IN (SELECT photo, rest FROM uses WHERE run <= ?)"
_NEVER = -1
"""The run of a result that is not lasting."""


class Key(NamedTuple):
    """What a result is kept by."""

    photo: str
    """md5 of the photo's bytes."""
    rest: str
    """Digest of what else it follows from: configuration, code, labels."""


@dataclass(frozen=True, slots=True)
class WantedRow:
    """A row of the table that is to be made, but for what alignment says."""

    id: str
    source: str
    person: str
    split: str
    parameters: NDArray[np.float32] | None = None
    discrete: NDArray[np.int16] | None = None


def file_in(cache: Path) -> Path:
    """Where the results lie below a project's folder of what can be computed again."""
    return cache / "alignments" / "photos.sqlite"


class AlignmentCache:
    """The results of earlier runs and of this one; a context manager. Everything raises sqlite3.Error where the file
    cannot be used.
    """

    def __init__(self, file: Path) -> None:
        with suppress(OSError):  # then the file cannot be opened either
            file.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(file, timeout=PATIENCE)

    def __enter__(self) -> Self:
        try:
            _prepare(self._database)
            self._database.executescript(_TABLES)
            (last,) = self._database.execute("PRAGMA user_version").fetchone()
            self._run = last + 1
            self._delete_up_to(_NEVER)  # of a run that was killed
        except sqlite3.Error:
            self._database.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def want(self, row: WantedRow, key: Key) -> bool:
        """Note the next row of this run's table; gives whether its result is known, or wanted before."""
        known = any(
            self._database.execute(f"SELECT 1 FROM {table} WHERE photo = ? AND rest = ?", key).fetchone()
            for table in ("results", "wanted")
        )
        self._note(row, key, None)
        return known

    def refuse(self, row: WantedRow, reason: str) -> None:
        """Note the next row, of a photo that is not even opened."""
        self._note(row, (None, None), reason)

    def _note(self, row: WantedRow, key: tuple[str | None, str | None], refused: str | None) -> None:
        lists = (None if values is None else values.tobytes() for values in (row.parameters, row.discrete))
        self._database.execute(
            "INSERT INTO wanted VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (row.id, row.source, row.person, row.split, *lists, *key, refused),
        )

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep results, rows of RESULT_SCHEMA."""
        with self._database:
            for row in rows:
                key = row["photo"], row["rest"]
                seen = (row["reason"], row["image"], row["labels"], row["n_faces"], _packed(row))
                self._database.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?)", (*key, *seen))
                run = self._run if row["lasting"] else _NEVER
                self._database.execute("INSERT OR REPLACE INTO uses VALUES (?, ?, ?)", (*key, run))

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows that were wanted, in order: of a face all columns, of a refused photo id, source and reason."""
        for name, source, person, split, parameters, discrete, reason, *seen in self._database.execute(_ROWS):
            if reason is not None:
                yield {"id": name, "source": source, "reason": reason}
                continue
            image, labels, n_faces, packed = seen
            numbers = np.frombuffer(packed, np.float32)
            yield {
                "id": name, "source": source, "person": person, "split": split, "image": image, "labels": labels,
                "parameters": None if parameters is None else np.frombuffer(parameters, np.float32),
                "discrete": None if discrete is None else np.frombuffer(discrete, np.int16),
                **dict(zip(NUMBERS, numbers[: len(NUMBERS)], strict=True)),
                "n_faces": n_faces, "landmarks": numbers[len(NUMBERS) :],
            }  # fmt: skip

    def finish(self) -> None:
        """The run is done: what it wanted was used by it, what no run of late used goes."""
        with self._database:
            self._database.execute(
                "UPDATE uses SET run = ? WHERE run > ? AND (photo, rest) IN (SELECT photo, rest FROM wanted)",
                (self._run, _NEVER),
            )
            self._database.execute(f"PRAGMA user_version = {self._run}")
        self._delete_up_to(max(self._run - KEPT, _NEVER))

    def _delete_up_to(self, run: int) -> None:
        with self._database:
            self._database.execute(f"DELETE FROM results WHERE {_OLD}", (run,))
            self._database.execute("DELETE FROM uses WHERE run <= ?", (run,))
        _give_back_room(self._database)


def _packed(row: Mapping[str, Any]) -> bytes | None:
    """The pose, quality and landmarks of a result, float32; None of a refused one."""
    if row["landmarks"] is None:
        return None
    return np.array([*(row[name] for name in NUMBERS), *row["landmarks"]], np.float32).tobytes()


def erase(file: Path, photos: Collection[str]) -> None:
    """Delete and overwrite what was made of photos, by their md5. Raises sqlite3.Error."""
    if not file.exists():
        return
    with closing(sqlite3.connect(file, timeout=PATIENCE)) as database:
        _prepare(database)
        with database:
            for table in ("results", "uses"):
                database.executemany(f"DELETE FROM {table} WHERE photo = ?", ([photo] for photo in photos))
        _give_back_room(database)


def held(file: Path, photos: Collection[str]) -> tuple[int, int]:
    """How many results were made of photos, by their md5, and their pictures' bytes. Raises sqlite3.Error."""
    count = size = 0
    if not file.exists():
        return count, size
    with closing(sqlite3.connect(file, timeout=PATIENCE)) as database:
        for start in range(0, len(photos), AT_ONCE):
            some = list(photos)[start : start + AT_ONCE]
            places = ", ".join("?" * len(some))
            found = database.execute(
                "SELECT count(*), total(ifnull(length(image), 0) + ifnull(length(labels), 0)) "
                f"FROM results WHERE photo IN ({places})",
                some,
            ).fetchone()
            count, size = count + found[0], size + int(found[1])
    return count, size


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether the file can never be read again."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _prepare(database: sqlite3.Connection) -> None:
    # What is deleted is overwritten, and its room is the disk's again; the former before there is any table.
    for setting in ("auto_vacuum = INCREMENTAL", "secure_delete = ON", "journal_mode = TRUNCATE"):
        database.execute(f"PRAGMA {setting}")


def _give_back_room(database: sqlite3.Connection) -> None:
    # By `execute` it would be one page's, for each is a step of the statement.
    database.executescript("PRAGMA incremental_vacuum")
