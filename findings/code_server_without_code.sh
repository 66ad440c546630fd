#!/bin/sh
# `dagster code-server start` (dagster 1.13.27) is two processes: one that is asked and passes on, one that has loaded the
# code. Once the second one is killed (out of memory, say), the first one lives on: its gRPC health check goes on saying
# SERVING, every question fails, and nothing starts the second one again. A supervisor or a probe that asks the health
# service, as `dagster api grpc-health-check` does, never notices; webserver and daemon stay without code for good.
#
# Output seen:
#   with its code:                health SERVING, repositories answered
#   30 s after its code was killed: health SERVING, repositories UNKNOWN
# Exits non-zero when it behaves otherwise.
set -eu
folder=$(mktemp -d)
trap 'kill $(cat "$folder"/pid) 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dagster==1.13.27 psutil
cd "$folder"
export DAGSTER_HOME="$folder" DAGSTER_DISABLE_TELEMETRY=yes
cat > dagster.yaml <<'YAML'
telemetry: {enabled: false}
YAML
cat > project.py <<'PY'
import dagster as dg

@dg.asset
def one(): ...

defs = dg.Definitions([one])
PY
"$folder/venv/bin/dagster" code-server start -f project.py -s "$folder/code.sock" --log-level error &
echo $! > pid
cat > ask.py <<'PY'
import sys, time, grpc, psutil
from dagster._grpc.__generated__ import dagster_api_pb2
from dagster._grpc.__generated__.dagster_api_pb2_grpc import DagsterApiStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

def state():
    with grpc.insecure_channel("unix:code.sock") as channel:
        try:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=5)
            health = health_pb2.HealthCheckResponse.ServingStatus.Name(health.status)
        except grpc.RpcError as error:
            health = error.code().name
        try:
            DagsterApiStub(channel).ListRepositories(dagster_api_pb2.ListRepositoriesRequest(), timeout=5)
            answer = "answered"
        except grpc.RpcError as error:
            answer = error.code().name
    return health, answer

deadline = time.monotonic() + 120
while (before := state()) != ("SERVING", "answered") and time.monotonic() < deadline:
    time.sleep(1)
print("with its code:                health %s, repositories %s" % before)
server = psutil.Process(int(open("pid").read()))
(code,) = [child for child in server.children(recursive=True) if "grpc" in child.cmdline()]
code.kill()
time.sleep(30)
after = state()
print("30 s after its code was killed: health %s, repositories %s" % after)
sys.exit(0 if before == ("SERVING", "answered") and after == ("SERVING", "UNKNOWN") else 1)
PY
"$folder/venv/bin/python" ask.py
