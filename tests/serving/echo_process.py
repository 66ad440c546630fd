"""A child process that answers with what it was asked, or does what a process of the service should survive."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from serving.child_process import Answer, Message, NotLoaded, answer_requests


@contextmanager
def loaded(how: str) -> Iterator[tuple[Message, Answer]]:
    if how == "refuse":
        raise NotLoaded("there is no model")
    if how == "exit":
        sys.exit(3)
    if how == "hang":
        time.sleep(600)
    yield Message({"loaded": how}, [b"\0first"]), answer


def answer(request: Message) -> Message:
    if request.value == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if request.value == "hang":
        time.sleep(600)
    print("a library that talks")
    subprocess.run([sys.executable, "-c", "import sys; sys.stdin.read(); print('so does its child')"], check=True)
    return request


if __name__ == "__main__":
    sys.exit(answer_requests(loaded(sys.argv[1])))
