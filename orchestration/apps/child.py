"""Runs one command for as long as its parent lives, and leaves nothing of it behind.

    python -m orchestration.apps.child PARENT LOG COMMAND...

What the command writes goes to LOG, which is rotated. The command and all that it starts share this process's group.
They get SIGTERM when this process does, or when its parent is gone, were it killed with SIGKILL, and SIGKILL when they
have not ended GRACE seconds later.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType
from typing import IO

from engine.processes import die_with_parent

GRACE = 20.0
"""Seconds between SIGTERM and SIGKILL."""
LOG_BYTES, LOG_FILES = 5_000_000, 4


def run(log: Path, command: list[str], parent: int) -> int:
    """Run the command to its end; its exit status, negative for the signal that ended it."""
    ending = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ending.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # what it ends is its group
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the kernel was asked
        return 1
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=lambda: die_with_parent(signal.SIGKILL),
    )
    assert child.stdout
    copying = threading.Thread(target=_copy_output, args=(child.stdout, log), daemon=True)
    copying.start()
    while child.poll() is None and not ending.wait(0.2):
        pass
    _end_group(child)
    copying.join(GRACE)
    return child.returncode


def _copy_output(lines: IO[str], log: Path) -> None:
    handler = RotatingFileHandler(log, maxBytes=LOG_BYTES, backupCount=LOG_FILES)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for line in lines:
        handler.emit(logging.makeLogRecord({"msg": line.rstrip("\n")}))


def _end_group(child: subprocess.Popen[str]) -> None:
    """Ask everything in the group to end, wait, then kill what is left. This process ignores the first signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and (child.poll() is None or others_in_group(os.getpgrp())):
        time.sleep(0.1)
    for pid in others_in_group(os.getpgrp()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    child.wait()


def others_in_group(group: int) -> list[int]:
    """The living processes of a group without its leader, which is the process of this module."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.pid) == group != process.pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[2]), sys.argv[3:], int(sys.argv[1])))
