#!/usr/bin/env bash
# mlflow 3.17.2: download_artifacts("models:/name/1", tracking_uri=..., registry_uri=...) does not ask the registry that it
# is given. For URIs of registered models it asks the one that the process is set to, by default a database mlflow.db,
# which it makes in the working directory. It works in every test that has called set_tracking_uri before, and fails in
# the program that has not. Call mlflow.set_registry_uri, or set MLFLOW_REGISTRY_URI.
# Seen: given the registry: "Registered Model with name=face not found", and a new mlflow.db; set to it: found.
# Ends with a status other than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q mlflow==3.17.2
mkdir "$folder/work"
cd "$folder/work"
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import logging
import sys
from pathlib import Path

import mlflow
from mlflow.artifacts import download_artifacts

logging.disable(logging.WARNING)
folder = Path(sys.argv[1])
registry = f"sqlite:///{folder}/registry.db"
client = mlflow.MlflowClient(registry, registry)
(folder / "model").mkdir()
(folder / "model" / "MLmodel").write_text("flavors: {}\n")
client.create_registered_model("face")
client.create_model_version("face", str(folder / "model"))
try:
    given = download_artifacts("models:/face/1", tracking_uri=registry, registry_uri=registry)
except mlflow.MlflowException as error:
    given = error.message
made = [path.name for path in Path.cwd().glob("*.db")]
mlflow.set_registry_uri(registry)
found = Path(download_artifacts("models:/face/1"))
print(f"given the registry: {given}, {made}; set to it: {[path.name for path in found.iterdir()]}")
assert given == "Registered Model with name=face not found" and made == ["mlflow.db"], "it has changed"
assert (found / "MLmodel").is_file(), "it has changed"
PYTHON
