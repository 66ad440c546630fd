"""What networks saw of pictures, kept for the next run: a new picture does not have all others looked at again.

What was seen is kept by a digest of the picture's bytes and by one of all else that it follows from (`network`:
weights, size, device, code), as bytes of one length. It lies in one SQLite file, with nothing of whose picture it is.
Only the last few networks' features stay, and `delete_unused` takes what no run asked for lately; `keep_only` is what
`likeness forget` needs. The file may be deleted as a whole at any time, and one that cannot be used costs time and
never the result.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from stages.data.alignment_cache import AT_ONCE, PATIENCE, is_damaged

log = logging.getLogger(__name__)

NETWORKS_KEPT = 6
"""Networks, those used last, whose features stay."""
DAY = 86_400
_TABLES = """
CREATE TABLE IF NOT EXISTS networks (network TEXT PRIMARY KEY, number INTEGER UNIQUE, used REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS features (
    picture TEXT, number INTEGER, day INTEGER, value BLOB, PRIMARY KEY (picture, number)
);
"""


def digest_of_picture(picture: bytes) -> str:
    """What a picture's features are kept by, of its encoded bytes."""
    return hashlib.blake2b(picture, digest_size=16).hexdigest()


def file_in(cache: Path) -> Path:
    """Where features lie below a project's folder of what can be computed again."""
    return cache / "features" / "pictures.sqlite"


class FeatureCache:
    """What one network saw of pictures: `size` bytes of each; a context manager.

    file: None keeps nothing, and so does one that cannot be used.
    """

    def __init__(self, file: Path | None, network: str, size: int) -> None:
        self._file, self._network, self._size = file, network, size
        self._database: sqlite3.Connection | None = None
        self._number, self._today = 0, today()

    def __enter__(self) -> Self:
        if self._file is not None:
            with self._errors_told(), suppress(OSError):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._database = sqlite3.connect(self._file, timeout=PATIENCE)
                _prepare(self._database)
                self._database.executescript(_TABLES)
                self._number = self._use_network(self._database)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._database is not None:
            self._database.close()

    def get(self, pictures: Sequence[str]) -> list[bytes | None]:
        """What is kept of pictures, by their digests; None of one that is not."""
        found: dict[str, bytes] = {}
        with self._errors_told():
            if self._database is not None:
                for some in _parts(dict.fromkeys(pictures)):
                    found |= self._read(self._database, some)
        return [found.get(picture) for picture in pictures]

    def _read(self, database: sqlite3.Connection, pictures: Sequence[str]) -> dict[str, bytes]:
        where = f"number = ? AND picture IN ({_places(pictures)})"
        rows = database.execute(f"SELECT picture, day, value FROM features WHERE {where}", [self._number, *pictures])
        known = {picture: (day, value) for picture, day, value in rows if len(value) == self._size}
        if any(day != self._today for day, _ in known.values()):
            with database:
                database.execute(f"UPDATE features SET day = ? WHERE {where}", [self._today, self._number, *pictures])
        return {picture: value for picture, (_, value) in known.items()}

    def put(self, values: Mapping[str, bytes]) -> None:
        """Keep what was seen of pictures, by their digests."""
        with self._errors_told():
            if self._database is not None:
                rows = [(picture, self._number, self._today, value) for picture, value in values.items()]
                with self._database:
                    self._database.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)", rows)

    def _use_network(self, database: sqlite3.Connection) -> int:
        """The network's number; the features of those that were not used for longest go."""
        with database:
            database.execute(
                "INSERT INTO networks SELECT ?, ifnull(max(number), 0) + 1, ? FROM networks WHERE true "
                "ON CONFLICT (network) DO UPDATE SET used = excluded.used",
                (self._network, time.time()),
            )
            old = database.execute(
                f"SELECT number FROM networks ORDER BY used DESC LIMIT -1 OFFSET {NETWORKS_KEPT}"
            ).fetchall()
            database.executemany("DELETE FROM features WHERE number = ?", old)
            database.executemany("DELETE FROM networks WHERE number = ?", old)
        if old:
            _give_back_room(database)
        return database.execute("SELECT number FROM networks WHERE network = ?", (self._network,)).fetchone()[0]

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        """Go on without the file where it cannot be used."""
        try:
            yield
        except sqlite3.Error as error:
            log.warning("%s cannot be used, features are computed again: %s", self._file, error)
            if self._database is not None:
                self._database.close()
                self._database = None
            if is_damaged(error) and self._file is not None:
                self._file.unlink(missing_ok=True)


def today() -> int:
    """Days since 1970."""
    return int(time.time() // DAY)


def keep_only(file: Path, pictures: Collection[str]) -> None:
    """Delete and overwrite what was seen of all other pictures, by their digests. Raises sqlite3.Error."""
    if not file.exists():
        return
    with closing(sqlite3.connect(file, timeout=PATIENCE)) as database:
        _prepare(database)
        _note(database, pictures)
        with database:
            database.execute("DELETE FROM features WHERE picture NOT IN (SELECT picture FROM kept)")
        _give_back_room(database)


def held_besides(file: Path, pictures: Collection[str]) -> tuple[int, int]:
    """How many features are kept of other pictures than these, and their bytes. Raises sqlite3.Error."""
    return _counted(file, "picture NOT IN (SELECT picture FROM kept)", pictures)


def held_unused(file: Path, days: float) -> tuple[int, int]:
    """How many features no run of the last days asked for, and their bytes. Raises sqlite3.Error."""
    return _counted(file, f"day < {today() - int(days)}")


def delete_unused(file: Path, days: float) -> None:
    """Delete what no run of the last days asked for. Raises sqlite3.Error."""
    if not file.exists():
        return
    with closing(sqlite3.connect(file, timeout=PATIENCE)) as database:
        _prepare(database)
        with database:
            database.execute("DELETE FROM features WHERE day < ?", (today() - int(days),))
        _give_back_room(database)


def _counted(file: Path, where: str, pictures: Collection[str] = ()) -> tuple[int, int]:
    if not file.exists():
        return 0, 0
    with closing(sqlite3.connect(file, timeout=PATIENCE)) as database:
        _note(database, pictures)
        count, size = database.execute(f"SELECT count(*), total(length(value)) FROM features WHERE {where}").fetchone()
    return count, int(size)


def _note(database: sqlite3.Connection, pictures: Collection[str]) -> None:
    database.execute("CREATE TEMP TABLE kept (picture TEXT PRIMARY KEY) WITHOUT ROWID")
    database.executemany("INSERT OR IGNORE INTO kept VALUES (?)", ((picture,) for picture in pictures))


def _parts(pictures: Collection[str]) -> Iterator[list[str]]:
    every = list(pictures)
    return (every[start : start + AT_ONCE] for start in range(0, len(every), AT_ONCE))


def _places(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def _prepare(database: sqlite3.Connection) -> None:
    # As in alignment_cache: what is deleted is overwritten, and its room is the disk's again.
    for setting in ("auto_vacuum = INCREMENTAL", "secure_delete = ON", "journal_mode = TRUNCATE"):
        database.execute(f"PRAGMA {setting}")


def _give_back_room(database: sqlite3.Connection) -> None:
    database.executescript("PRAGMA incremental_vacuum")
