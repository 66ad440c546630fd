#!/usr/bin/env bash
# pyarrow 25.0.1: ParquetFile opens with pre_buffer=True, and then iter_batches() holds every row group that it has read
# until it ends, though each batch was let go of by then. Who streams a table of pictures in small row groups to save
# memory ends with the whole file in Arrow's pool. With pre_buffer=False, or with one call for each row group, it holds
# one row group. Nothing says so: the option is described as one for file systems of high latency.
# Seen (64 row groups of 4 MB): "at once 268 MB, by row group 16 MB; without pre_buffer: at once 16 MB".
# Ends with a status other than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pyarrow==25.0.1
"$folder/venv/bin/python" - "$folder/table.parquet" <<'PYTHON'
import inspect
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq

GROUPS, ROWS, SIZE = 64, 64, 65_536
schema = pa.schema([("picture", pa.binary())])
with pq.ParquetWriter(sys.argv[1], schema, compression="zstd") as writer:
    for _ in range(GROUPS):
        pictures = [os.urandom(SIZE) for _ in range(ROWS)]
        writer.write_table(pa.table({"picture": pictures}, schema=schema))


def most(batches):
    """The most megabytes that Arrow's pool held at a batch."""
    before, held = pa.total_allocated_bytes(), 0
    for _ in batches:
        held = max(held, pa.total_allocated_bytes() - before)
    return held / 2**20


with pq.ParquetFile(sys.argv[1]) as file:
    at_once = most(file.iter_batches(ROWS))
with pq.ParquetFile(sys.argv[1]) as file:
    by_group = most(batch for n in range(GROUPS) for batch in file.iter_batches(ROWS, row_groups=[n]))
with pq.ParquetFile(sys.argv[1], pre_buffer=False) as file:
    unbuffered = most(file.iter_batches(ROWS))
print(f"at once {at_once:.0f} MB, by row group {by_group:.0f} MB; without pre_buffer: at once {unbuffered:.0f} MB")
assert inspect.signature(pq.ParquetFile).parameters["pre_buffer"].default is True, "it has changed"
assert at_once > 200 and by_group < 40 and unbuffered < 40, "it has changed"
PYTHON
