#!/usr/bin/env bash
# What only a GPU can tell of this project, in eight minutes at most, on a bare machine: Python 3.12, torch, no network.
#
#     benchmarks/gpu.sh wheels     where there is a network: fetch what such a machine lacks into .gpu-wheels
#     benchmarks/gpu.sh [OUT]      there: OUT/training.json, OUT/render.json where it can (default out/gpu)
#
# Warp's wheel alone has 150 MB, so it is not among those fetched: the renderer is measured, and its tests run, where Warp,
# OpenCV, SciPy and data/embedded are there already. Without a GPU the same runs to its end on the CPU, with toys, to show
# that it does. PYTHON: the interpreter (python3).
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
wheels=.gpu-wheels site=.gpu-site
packages="annotated-doc annotated-types fsspec lightning lightning-utilities markdown-it-py mdurl numpy packaging pillow
    pydantic pydantic-core pydantic-settings pygments python-dotenv pyyaml rich safetensors shellingham torchmetrics tqdm
    typer typing-extensions typing-inspection"

fetch() {
    local wanted=() name platform platforms=()
    for name in $packages; do
        wanted+=("$(grep -i -m1 -o "^${name//-/[-_.]}==[^ ;]*" requirements.lock)")
    done
    for platform in manylinux_2_28 manylinux_2_24 manylinux_2_17 manylinux2014; do
        platforms+=(--platform "${platform}_x86_64")
    done
    "$python" -m pip download --quiet --no-deps --only-binary :all: --python-version 3.12 "${platforms[@]}" \
        --dest "$wheels" "${wanted[@]}"
    du -sh "$wheels"
}

can() {
    "$python" -c "import $1" 2>/dev/null
}

if [[ ${1:-} == wheels ]]; then
    fetch
    exit
fi

out=${1:-out/gpu}
mkdir -p "$out"
lacking=$("$python" - $packages <<'PYTHON'
import sys
from importlib.metadata import PackageNotFoundError, version

for name in sys.argv[1:]:
    try:
        version(name)
    except PackageNotFoundError:
        print(name)
PYTHON
)
if [[ -n $lacking ]]; then
    if [[ ! -d $wheels ]]; then
        echo "error: this machine lacks" $lacking": bring $wheels along ($0 wheels)" >&2
        exit 1
    fi
    # All of them, for they fit each other; but numpy, which has to fit the machine's torch.
    rm -rf "$site"
    for wheel in "$wheels"/*.whl; do
        [[ $wheel == */numpy-* ]] || "$python" -m pip install --quiet --no-deps --no-index --target "$site" "$wheel"
    done
fi
export PYTHONPATH=$PWD:$PWD/$site
device=$("$python" -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
small=()
if [[ $device == cpu ]]; then
    echo "no GPU: the same with toys on the CPU" >&2
    small=(--small)
fi
status=0
attempt() {
    local seconds=$1
    shift
    timeout "$seconds" "$python" -m "$@" || { status=1; echo "failed: $1" >&2; }
}
attempt 300 benchmarks.training --device "$device" "${small[@]}" --out "$out"
if [[ $device == cuda && -d data/embedded ]] && can "warp, cv2, scipy, threadpoolctl"; then
    attempt 90 benchmarks.render --quick --out "$out"
    can "pytest, sqlalchemy" && attempt 60 pytest -m gpu -q tests/engine/test_renderer.py
else
    echo "left out: the renderer (it needs a GPU, Warp, OpenCV, SciPy and data/embedded)" >&2
fi
exit "$status"
