#!/usr/bin/env bash
# dagster 1.13.27: the default storage (SQLite) makes an SQLAlchemy engine, a connection and a transaction for each single
# query. A new engine has compiled no statement yet, and where no one else has the file open, closing the connection ends
# the write-ahead log, which the next query begins again. A program that asks an instance many small questions (what is
# stale? what was made last?) spends most of its time on this. Keeping the engine, and one idle connection to the file,
# makes the same question more than twice as fast.
# Seen: "1800 engines for 300 questions; kept, and one connection held open: 2.3 times as fast" (processor time).
# Ends with a status other than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q dagster==1.13.27
mkdir "$folder/home"
"$folder/venv/bin/python" - "$folder/home" <<'PYTHON'
import functools
import sqlite3
import sys
import time

import dagster as dg
from dagster._core.storage.event_log.sqlite import sqlite_event_log

QUESTIONS = 300


@dg.asset
def one():
    return 1


instance = dg.DagsterInstance.local_temp(sys.argv[1])
assert dg.materialize([one], instance=instance).success
make, made = sqlite_event_log.create_engine, []


def ask():
    begun = time.process_time()
    for _ in range(QUESTIONS):
        assert instance.get_latest_materialization_event(dg.AssetKey("one"))
    return time.process_time() - begun


def counted(*given, **options):
    made.append(given)
    return make(*given, **options)


sqlite_event_log.create_engine = counted
ask()
engines, made[:] = len(made), []
sqlite_event_log.create_engine = make
as_it_is = min(ask() for _ in range(3))
kept = functools.cache(lambda url: make(url, poolclass=sqlite_event_log.NullPool))
sqlite_event_log.create_engine = lambda url, **options: kept(url)
held = sqlite3.connect(instance.event_log_storage.path_for_shard("index"))
held.execute("SELECT count(*) FROM sqlite_master").fetchall()
faster = as_it_is / min(ask() for _ in range(3))
print(f"{engines} engines for {QUESTIONS} questions; kept, and one connection held open: {faster:.1f} times as fast")
assert engines >= QUESTIONS and faster > 1.5, "it has changed"
PYTHON
