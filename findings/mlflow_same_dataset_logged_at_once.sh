#!/usr/bin/env bash
# mlflow 3.17.2: runs of one experiment that log the same new dataset at the same moment, as parallel steps that read the
# same data do, get an error now and then. The store looks whether the dataset is there, then inserts it, and the one
# that comes second breaks the table's unique key. It is told as BAD_REQUEST, which reads as the caller's mistake and
# which MLflow's own HTTP retries leave alone; none of that call's datasets is logged.
# The same call tried again succeeds. PostgreSQL behind MLflow's server behaves alike, with its own words.
# Seen: "some of 400 calls failed, all of them BAD_REQUEST by a unique constraint; tried again, all succeeded" (44 and 94 did).
# Ends with a status other than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q mlflow==3.17.2
export MLFLOW_DISABLE_TELEMETRY=true
"$folder/venv/bin/python" - "$folder" 2>"$folder/log" <<'PYTHON' || { cat "$folder/log" >&2; exit 1; }
import sys
import threading

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput
from mlflow.exceptions import MlflowException

STEPS, DATASETS = 4, 100
client = MlflowClient(f"sqlite:///{sys.argv[1]}/mlflow.db")
experiment = client.create_experiment("e")
runs = [client.create_run(experiment).info.run_id for _ in range(STEPS)]
together = threading.Barrier(STEPS)
failed, again = [], []


def log(run: str) -> None:
    for number in range(DATASETS):
        datasets = [DatasetInput(Dataset(f"table {number}", "digest", "local", "file"), [])]
        together.wait()
        try:
            client.log_inputs(run, datasets=datasets)
        except MlflowException as error:
            failed.append(error)
            try:
                client.log_inputs(run, datasets=datasets)
            except MlflowException as error:
                again.append(error)


threads = [threading.Thread(target=log, args=(run,)) for run in runs]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
kinds = {error.error_code for error in failed}
unique = all("UNIQUE constraint failed: datasets" in str(error) for error in failed)
print(f"{len(failed)} of {STEPS * DATASETS} calls failed", file=sys.stderr)
print(f"{'some' if failed else 'none'} of {STEPS * DATASETS} calls failed, all of them {' '.join(kinds)} by "
      f"{'a unique constraint' if unique else 'something else'}; tried again, {'some failed' if again else 'all succeeded'}")
sys.exit(not failed or kinds != {"BAD_REQUEST"} or not unique or bool(again))
PYTHON

