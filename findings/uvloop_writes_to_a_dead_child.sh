#!/usr/bin/env bash
# uvloop 0.23.0: writing to the stdin of a child process that has ended raises RuntimeError ("the handler is closed") where
# asyncio's own loop raises ConnectionResetError. `uvicorn[standard]` installs uvloop and uses it by default, so a server
# that keeps a worker process and catches ConnectionError (the documented error of a lost pipe) to start another worker
# loses the task that wrote, without a word, in production only: tests that run under asyncio.run never see it.
#
# Seen:
#   asyncio  ConnectionResetError
#   uvloop   RuntimeError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip --disable-pip-version-check -q install 'uvloop==0.23.0' 2>/dev/null
cat >"$folder/child.py" <<'PY'
import asyncio
import sys

import uvloop


async def error_of_a_write() -> str:
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=pipe)
    child.kill()
    await child.wait()
    await asyncio.sleep(0.5)
    try:
        for _ in range(2):
            child.stdin.write(b"a request")
            await child.stdin.drain()
    except Exception as error:
        return type(error).__name__
    return "nothing"


for name, run in (("asyncio", asyncio.run), ("uvloop", uvloop.run)):
    print(f"{name:8} {run(error_of_a_write())}")
PY
seen=$("$folder/env/bin/python" "$folder/child.py" 2>/dev/null)
echo "$seen"
[[ $seen == $'asyncio  ConnectionResetError\nuvloop   RuntimeError' ]]
