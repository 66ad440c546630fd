#!/usr/bin/env bash
# dagster 1.13.27 (PyPI): a retry policy is for failures, and Ctrl-C (SIGINT; SIGTERM too) is no failure. But in
# `execute_in_process` a step that has a policy takes the signal for one more failure: it sleeps for the policy's delay and
# runs again, and in the end the run is a success. With the usual 3 retries that grow from 10 seconds, a command needs four
# Ctrl-Cs and more than a minute to end. Without a policy the first one ends the run. What helps: catch
# DagsterExecutionInterruptedError in the step's body and raise dagster.Failure(allow_retries=False).
# Open since 2023 for the pages' Terminate: github.com/dagster-io/dagster/issues/15026.
# Seen: with a policy: attempts 2, ended well True; without: attempts 1, ended well False; by Failure: attempts 1, ended well False.
# Ends with a status other than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q dagster==1.13.27
cat >"$folder/probe.py" <<'PYTHON'
import os
import signal
import time

import dagster as dg

POLICY = dg.RetryPolicy(max_retries=3, delay=0.1)


def run(policy, catches):
    attempts = []

    @dg.asset(retry_policy=policy)
    def stopped():
        attempts.append(1)
        try:
            if len(attempts) == 1:
                os.kill(os.getpid(), signal.SIGINT)  # somebody presses Ctrl-C
                time.sleep(5)
        except dg.DagsterExecutionInterruptedError:
            if catches:
                raise dg.Failure("interrupted", allow_retries=False) from None
            raise

    try:
        with dg.DagsterInstance.ephemeral() as instance:
            well = dg.materialize([stopped], instance=instance, raise_on_error=False).success
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        well = False
    return len(attempts), well


seen = {"with a policy": run(POLICY, False), "without": run(None, False), "by Failure": run(POLICY, True)}
print("; ".join(f"{name}: attempts {count}, ended well {well}" for name, (count, well) in seen.items()))
assert list(seen.values()) == [(2, True), (1, False), (1, False)], seen
PYTHON
cd "$folder"
DAGSTER_DISABLE_TELEMETRY=1 "$folder/venv/bin/python" "$folder/probe.py" 2>/dev/null
