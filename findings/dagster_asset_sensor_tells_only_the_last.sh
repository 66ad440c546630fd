#!/usr/bin/env bash
# dagster 1.13.27 (PyPI): of an asset that is made several times between two ticks, as partitions made side by side are, an
# `@asset_sensor` is called with the newest event alone, and its cursor moves past the others: nobody ever hears of them. It
# says neither so in the log nor in its tick. A `@sensor` that asks `fetch_materializations` for what came after its cursor,
# oldest first, hears all. Open since November 2025: github.com/dagster-io/dagster/issues/32853.
# Seen: made a, b, c; asset_sensor heard c; sensor heard a, b, c.
# Ends with a status other than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q dagster==1.13.27
cat >"$folder/probe.py" <<'PYTHON'
import dagster as dg

KEY = dg.AssetKey("report")
NAMES = ("a", "b", "c")
heard = {"asset_sensor": [], "sensor": []}


@dg.asset(partitions_def=dg.StaticPartitionsDefinition([*NAMES]))
def report():
    pass


@dg.asset_sensor(asset_key=KEY, job_name="unused")
def newest(context, event):
    heard["asset_sensor"].append(event.asset_materialization.partition)
    return dg.SkipReason("heard")


@dg.sensor(job_name="unused")
def each(context):
    asked = dg.AssetRecordsFilter(KEY, after_storage_id=int(context.cursor or 0))
    for record in context.instance.fetch_materializations(asked, limit=100, ascending=True).records:
        heard["sensor"].append(record.asset_materialization.partition)
        context.update_cursor(str(record.storage_id))
    return dg.SkipReason("heard")


with dg.DagsterInstance.ephemeral() as instance:
    for name in NAMES:
        dg.materialize([report], instance=instance, partition_key=name)
    for sensor in (newest, each):
        cursor = None
        for _ in range(3):  # ticks, one after the other: nothing more comes
            with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
                data = sensor.evaluate_tick(context)
                cursor = data.cursor or context.cursor

print(f"made {', '.join(NAMES)}; " + "; ".join(f"{name} heard {', '.join(found)}" for name, found in heard.items()))
assert heard == {"asset_sensor": ["c"], "sensor": [*NAMES]}, heard
PYTHON
cd "$folder"
DAGSTER_DISABLE_TELEMETRY=1 "$folder/venv/bin/python" "$folder/probe.py" 2>"$folder/log" || { tail -5 "$folder/log"; exit 1; }
