"""A PostgreSQL server of one test's own, with a password, on a free port of the loopback address."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest

from tests.orchestration.servers import free_port

USER, PASSWORD = "studio", "only here"
ANSWERS_WITHIN = 120
"""Seconds."""


def binaries() -> Path:
    """Where initdb and postgres are; Debian keeps them off the path. Skips the test where they are missing."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    complete = [folder for folder in folders if (folder / "postgres").exists() and (folder / "initdb").exists()]
    if not complete:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return complete[-1]


class PostgresServer:
    """A server that can be killed and started again over the same data."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.folder = binaries(), folder
        # It refuses to run as root.
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            entry = pwd.getpwnam(self.user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        self.port = free_port()
        self.process: subprocess.Popen | None = None
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        options = ["--auth=scram-sha-256", f"--pwfile={password}", f"--username={USER}", "--no-sync"]
        self._run(self.bin / "initdb", f"--pgdata={folder / 'data'}", *options)

    def url(self, database: str) -> str:
        """Without the password."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder}
        options |= {"fsync": "off", "max_connections": 100}
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [str(self.bin / "postgres"), "-D", str(self.folder / "data"), *given],
                **self._as_user(),
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + ANSWERS_WITHIN
        while True:
            try:
                self._ask("select 1")
                return
            except psycopg2.OperationalError:
                assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
                time.sleep(0.1)

    def create(self, database: str) -> str:
        """A new, empty database; its URL without the password."""
        self._ask(f"create database {database}")
        return self.url(database)

    def kill(self) -> None:
        """As a crash would: every connection is lost at once."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
            self.process = None

    def tables(self, database: str) -> set[str]:
        """Each table as `schema.table`."""
        query = "select schemaname || '.' || tablename from pg_tables where schemaname !~ '^(pg_|information_schema)'"
        return {name for (name,) in self._ask(query, database)}

    def _ask(self, query: str, database: str = "postgres") -> list[tuple]:
        with closing(psycopg2.connect(self.url(database), password=PASSWORD)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall() if cursor.description else []

    def _run(self, *command: Path | str) -> None:
        subprocess.run(list(map(str, command)), **self._as_user(), capture_output=True, text=True, check=True)

    def _as_user(self) -> dict:
        return {"user": self.user, "cwd": self.folder} if self.user else {"cwd": self.folder}


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running server that is gone, with its data, when the block ends."""
    # Not below pytest's folder, which is its user's alone.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        server = PostgresServer(folder)
        try:
            server.start()
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
