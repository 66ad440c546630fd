"""Copies of databases that are in use: SQLite by its online backup, PostgreSQL by pg_dump and pg_restore.

A copy of a database's file alone may hold half a transaction. Both ways here give what was committed at one moment,
and hold nobody up for longer than SQLite takes to copy a file on its own disk.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from orchestration.storage import postgres
from orchestration.storage.postgres import DatabaseError

SQLITE_HEADER = b"SQLite format 3\0"
LOCKED_FOR = 60.0
"""Seconds for which SQLite waits for another process."""
SYSTEM_SCHEMAS = ("pg_catalog", "information_schema")


def is_sqlite(path: Path) -> bool:
    """Whether a file is a database of SQLite; one without any table yet is none."""
    with path.open("rb") as file:
        return file.read(len(SQLITE_HEADER)) == SQLITE_HEADER


def copy_sqlite(source: Path, target: Path) -> None:
    """What is committed in a database now, as a file of its own. Raises DatabaseError where the source is damaged.

    In one step: done in several, SQLite begins anew whenever another process writes, which a training does all the
    time. Writers wait meanwhile, so the target should lie on the same disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Read and write: of a database with a log of its own (WAL) a reader makes the index of it.
        with closing(sqlite3.connect(source, timeout=LOCKED_FOR)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
            (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise DatabaseError(f"{source} cannot be copied ({error}): is it damaged, or locked for minutes?") from error
    if found != "ok":
        raise DatabaseError(f"{source} is damaged ({found}): restore an older backup, or mend it with sqlite3 .recover")


def dump_postgresql(url: str, target: Path) -> str:
    """Every table of the database at one moment, in pg_dump's custom format; the version of the server's.

    The password comes from where libpq finds it. Raises DatabaseError.
    """
    server, program = server_version(url), _program("pg_dump")
    _require_as_new("pg_dump", program, server, f"the server at {postgres.name_of(url)} is")
    _run([program, "--format=custom", "--no-password", f"--file={target}", f"--dbname={_libpq(url)}"], url)
    return server


def load_postgresql(url: str, dump: Path, made_by: str, replace: bool) -> None:
    """Fill the database with what a dump holds, all of it or nothing; tables become the user's who connects.

    made_by: version of pg_dump's. replace: tables of the same names go first. Raises DatabaseError.
    """
    program = _program("pg_restore")
    _require_as_new("pg_restore", program, made_by, "the dump was made by pg_dump")
    over = ["--clean", "--if-exists"] if replace else []
    options = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", "--no-password", *over]
    _run([program, *options, f"--dbname={_libpq(url)}", str(dump)], url)


def tables(url: str) -> set[str]:
    """Each table of a PostgreSQL database as `schema.table`. Raises DatabaseError."""
    query = "select schemaname || '.' || tablename from pg_tables where schemaname <> all(%s)"
    return {name for (name,) in postgres.ask(url, query, (list(SYSTEM_SCHEMAS),))}


def server_version(url: str) -> str:
    """Of the PostgreSQL server: "15.18". Raises DatabaseError."""
    ((version,),) = postgres.ask(url, "show server_version")
    return str(version).split()[0]


def client_version(name: str = "pg_dump") -> str:
    """Of a program of PostgreSQL's on this machine. Raises DatabaseError where there is none."""
    return _version_of(_program(name))


def _program(name: str) -> str:
    if found := shutil.which(name):
        return found
    raise DatabaseError(
        f"{name} is not on the PATH: install PostgreSQL's client programs of the server's version or a newer one "
        "(Debian: apt-get install postgresql-client), or add their folder to PATH"
    )


def _version_of(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+(\.\d+)*", said)
    return found[0] if found else "0"


def _require_as_new(name: str, program: str, wanted: str, what: str) -> None:
    """PostgreSQL's programs read what older ones made, and never what newer ones did."""
    own, needed = _version_of(program), wanted.split(".")[0]
    if int(own.split(".")[0]) < int(needed):
        raise DatabaseError(
            f"{program} is of version {own}, and {what} {wanted}: an older {name} cannot read what a newer one made. "
            f"Install the client programs of version {needed} (Debian: postgresql-client-{needed}) and put them first "
            "on the PATH"
        )


def _run(command: list[str], url: str) -> None:
    """Raises DatabaseError with the program's own last words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = next((line.strip() for line in done.stderr.splitlines() if "error:" in line), done.stderr.strip()[-200:])
        raise DatabaseError(f"{Path(command[0]).name} of the database at {postgres.name_of(url)} failed: {said}")


def _libpq(url: str) -> str:
    """The URL as PostgreSQL's own programs take it."""
    return url.replace("+psycopg2", "", 1)
