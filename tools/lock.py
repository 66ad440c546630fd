"""Write the hashes of the locks: `make lock`, after you changed a version in one of them.

A lock is its own source: a comment, then exact versions, chosen by hand because no resolver accepts the whole set (the
comment of requirements.lock says why). This script keeps both and writes the sha256 of every file that the package
index has of each version, for all platforms. requirements-cuda.lock is resolved: what torch's CUDA build needs besides.
requirements-cpu.lock has the build of torch for CPUs alone that this machine's pip is offered, if it is.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK, CPU, CUDA = (ROOT / f"requirements{kind}.lock" for kind in ("", "-cpu", "-cuda"))
PIN = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)


def main() -> None:
    """Write all locks anew. Raises CalledProcessError where a version does not exist."""
    for lock in sorted({*ROOT.glob("requirements*.lock")} - {CPU, CUDA}):
        wanted = [f"{name}=={version}" for name, version in PIN.findall(lock.read_text())]
        write(lock, wanted, "--no-deps")
    pins = dict(PIN.findall(LOCK.read_text()))
    torch = f"torch=={pins['torch']}"
    write(CUDA, [torch], "--universal", leave_out=set(pins))
    version, sha256 = offered_here(torch)
    if "+" in version:
        comment = "".join(line for line in CPU.read_text().splitlines(True) if line.startswith("#"))
        CPU.write_text(f"{comment}torch=={version} \\\n    --hash=sha256:{sha256}\n")


def write(lock: Path, wanted: list[str], *options: str, leave_out: set[str] | None = None) -> None:
    """Replace the versions and hashes of a lock by those of `wanted`, without `leave_out`; its comment stays."""
    comment = "".join(line for line in lock.read_text().splitlines(True) if line.startswith("#"))
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "-", "--output-file", str(lock), "--quiet"]
    uv += ["--generate-hashes", "--no-header", "--no-annotate", *options]
    subprocess.run(uv, input="\n".join(wanted), text=True, check=True)
    packages = re.split(r"^(?=\w)", lock.read_text(), flags=re.MULTILINE)
    lock.write_text(comment + "".join(each for each in packages if each.split("==")[0] not in (leave_out or ())))


def offered_here(requirement: str) -> tuple[str, str]:
    """Version and sha256 of the file that pip would install on this machine."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed"]
    report = subprocess.run([*pip, "--report", "-", requirement], stdout=subprocess.PIPE, text=True, check=True).stdout
    (found,) = json.loads(report)["install"]
    return found["metadata"]["version"], found["download_info"]["archive_info"]["hashes"]["sha256"]


if __name__ == "__main__":
    main()
