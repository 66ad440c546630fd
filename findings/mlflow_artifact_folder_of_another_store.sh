#!/usr/bin/env bash
# mlflow 3.17.2: a process remembers where a run's artifacts go by the run's id alone, not by the tracking store. Two
# stores that have the same run (a backup that was restored beside the original, a project that was copied) therefore
# share one folder in a process that has written to either of them: an artifact that is logged to the second store lands
# in the first one's folder, overwrites what has the same name there, and another process finds nothing in the second store.
# Parameters, metrics and tags go where they should, so that nothing tells.
# Write to each store in a process of its own.
# Seen: "logged to the copy: in the original ['note.txt'], in the copy []; the tag: in the copy alone".
# Ends with a status other than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q mlflow==3.17.2
export MLFLOW_DISABLE_TELEMETRY=true
"$folder/venv/bin/python" - "$folder" 2>"$folder/log" <<'PYTHON' || { cat "$folder/log" >&2; exit 1; }
import shutil
import sqlite3
import sys
from pathlib import Path

from mlflow import MlflowClient

original, copy = (Path(sys.argv[1]) / name for name in ("original", "copy"))
original.mkdir()
store = MlflowClient(f"sqlite:///{original}/mlflow.db")
experiment = store.create_experiment("e", artifact_location=str(original / "artifacts"))
run = store.create_run(experiment).info.run_id
store.log_text(run, "of the original", "first.txt")

shutil.copytree(original, copy)
with sqlite3.connect(copy / "mlflow.db") as database:
    for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
        database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(original), str(copy)))

beside = MlflowClient(f"sqlite:///{copy}/mlflow.db")
assert str(copy) in beside.get_run(run).info.artifact_uri
beside.log_text(run, "of the copy", "note.txt")
beside.set_tag(run, "of", "the copy")

found = [sorted(path.name for path in where.rglob("note.txt")) for where in (original, copy)]
told = [MlflowClient(f"sqlite:///{where}/mlflow.db").get_run(run).data.tags.get("of") for where in (original, copy)]
tag = "in the copy alone" if told == [None, "the copy"] else told
print(f"logged to the copy: in the original {found[0]}, in the copy {found[1]}; the tag: {tag}")
sys.exit(found != [["note.txt"], []] or told != [None, "the copy"])
PYTHON
