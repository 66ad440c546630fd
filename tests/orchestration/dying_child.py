"""What a process that loads a model may do instead; imports nothing that takes time."""

import os
import signal
import time
from typing import Any


def hangs(sender: Any, registry: Any) -> None:
    time.sleep(60)


def dies(sender: Any, registry: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
