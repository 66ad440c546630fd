"""Files are written whole or not at all; a lock keeps other processes out, and ends with the one that holds it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestration.config.files import Timeout, is_locked, lock, write_whole
from orchestration.config.settings import REPOSITORY

HOLD = "import sys; from pathlib import Path; from orchestration.config.files import lock\n"
HOLD += "with lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


def test_a_text_is_written_as_utf_8_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "a.txt", "für")
    write_whole(tmp_path / "new" / "a.txt", "später")
    assert (tmp_path / "new" / "a.txt").read_text() == "später"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "a.txt", "\udcff")
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_lock_keeps_another_process_out_and_ends_with_the_one_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "locks" / "a.lock"
    assert not is_locked(file) and not file.exists(), "asking makes no file"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        assert is_locked(file)
        began = time.monotonic()
        with pytest.raises(Timeout), lock(file, 0.2):
            pass
        assert time.monotonic() - began < 5.0
        holder.kill()
    with lock(file, 5):
        assert is_locked(file)
    assert not is_locked(file)
