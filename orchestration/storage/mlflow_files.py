"""MLflow's files follow their project: its database names them by absolute paths, which a move or a copy makes wrong.

MLflow has no call that changes where an experiment, a run or a model lies, and makes every relative location absolute.
So this module, and no other, writes these columns of its tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from sqlalchemy import Connection

SQLITE = "sqlite:///"
LOCAL_ROOT = re.compile(r"((?:file://)?/.*/mlflow/files)(?:/|$)")
"""The folder for files of some home (`Settings.model_files`), at the begin of a location."""
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)

UNUSED_DEFAULT = (
    "UPDATE experiments SET artifact_location = :new WHERE experiment_id = 0 AND artifact_location LIKE '%/mlruns/0' "
    "AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.experiment_id = 0)"
)
"""MLflow's own experiment, in which we record nothing, lies where the first command was called."""


class NotMovable(Exception):
    """The database names files of another place, and cannot be changed; the message says what to do."""


def path_of(location: str) -> Path | None:
    """Where a location lies on this machine; None where it is no path."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(location) if location.startswith("/") else None


def follow(uri: str, files: Path) -> None:
    """Make the database name `files` wherever it names the same folder of another place. Raises NotMovable.

    A database that lies beside `files` was moved or copied with it: the other place is no longer meant, whether it is
    still there or not. One that lies elsewhere may be shared by several homes, and is changed only where the other
    place is gone and its files are here.
    """
    _follow(uri, files, moves_with(uri, files))


def _follow(uri: str, files: Path, owned: bool) -> None:
    import sqlalchemy as sa
    from sqlalchemy.exc import SQLAlchemyError

    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    with engine.connect() as connection:
        stale = list(_other_roots(connection, files))
        if not owned:
            stale = [root for root in stale if _was_moved(connection, root, files)]
        if not stale:
            return
        try:
            for root in stale:
                _replace(connection, root, files.as_uri())
            connection.execute(sa.text(UNUSED_DEFAULT), {"new": f"{files.as_uri()}/0"})
            connection.commit()
        except SQLAlchemyError as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())
            raise NotMovable(
                f"MLflow's database names files in {path_of(stale[0])}, which are in {files} now, and cannot be "
                f"changed ({reason}): let this user write to {files.parent}"
            ) from error


def moves_with(uri: str, files: Path) -> bool:
    """Whether the database lies beside these files."""
    return uri.startswith(SQLITE) and Path(uri.removeprefix(SQLITE)).parent == files.parent


def others(uri: str, files: Path) -> list[Path]:
    """Folders for files, of other homes, that the database names."""
    import sqlalchemy as sa

    with sa.create_engine(uri, poolclass=sa.NullPool).connect() as connection:
        return [path for root in _other_roots(connection, files) if (path := path_of(root))]


def _other_roots(connection: Connection, files: Path) -> Iterator[str]:
    import sqlalchemy as sa

    # An experiment may have been erased, and its registered versions live on.
    rows = connection.execute(
        sa.text("SELECT artifact_location FROM experiments UNION SELECT storage_location FROM model_versions")
    ).scalars()
    found = (LOCAL_ROOT.match(location or "") for location in rows)
    for root in dict.fromkeys(match[1] for match in found if match):
        there = path_of(root)
        if there and there != files and not (there.exists() and files.exists() and there.samefile(files)):
            yield root


def _was_moved(connection: Connection, root: str, files: Path) -> bool:
    import sqlalchemy as sa

    there = path_of(root)
    if there is None or there.exists():
        return False
    query = sa.text("SELECT artifact_location FROM logged_models ORDER BY creation_timestamp_ms DESC LIMIT 50")
    models = connection.execute(query).scalars()
    return any((files / location[len(root) + 1 :]).exists() for location in models if location.startswith(f"{root}/"))


def _replace(connection: Connection, old: str, new: str) -> None:
    import sqlalchemy as sa

    for table, column in COLUMNS:
        values = {"old": old, "new": new, "size": len(old), "rest": len(old) + 1}
        connection.execute(
            sa.text(
                f"UPDATE {table} SET {column} = :new || substr({column}, :rest) "
                f"WHERE substr({column}, 1, :size) = :old AND substr({column}, :rest, 1) IN ('', '/')"
            ),
            values,
        )
