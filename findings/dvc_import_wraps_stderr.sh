#!/usr/bin/env bash
# dvc 3.67.1 with colorama 0.4.6: `import dvc` calls colorama.init(), which replaces sys.stdout and sys.stderr by wrappers
# wherever they are no terminal, also on Linux. A program that asks `sys.stderr is sys.__stderr__` to learn whether
# somebody replaced it (a test does) gets another answer in a pipe than on a terminal, from the first import of dvc on.
# The wrapper still writes to descriptor 2: ask `sys.stderr.fileno() == 2`.
# Seen in a pipe: before the import True, after it False, fileno 2.
# Ends with a status other than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q dvc==3.67.1 colorama==0.4.6
"$folder/venv/bin/python" -c '
import sys

before = sys.stderr is sys.__stderr__
import dvc

found = (before, sys.stderr is sys.__stderr__, sys.stderr.fileno())
print("before the import {}, after it {}, fileno {}".format(*found))
assert found == (True, False, 2), "it has changed"
' 2>&1 | cat
