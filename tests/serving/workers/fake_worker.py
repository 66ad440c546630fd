"""A worker without a model: each photo is read at once, but for one that it hangs over."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from serving.child_process import Answer, Message, answer_requests

HANGS = b"hangs"


@contextmanager
def loaded() -> Iterator[tuple[Message, Answer]]:
    yield Message("md5"), answer


def answer(request: Message) -> Message:
    if HANGS in request.blobs:
        time.sleep(600)
    return Message([{"kind": "read"} for _ in request.value], [b""] * len(request.value))


if __name__ == "__main__":
    sys.exit(answer_requests(loaded()))
