"""Python's collector of garbage, in a process that starts, does one thing and ends."""

import atexit
import gc

USUAL = gc.get_threshold()
RARELY = (20_000, *USUAL[1:])


def collect_rarely() -> None:
    """For a process that has just begun. It imports a million objects, which all stay: the collector, called for every
    700 new ones and once more at the end, would go through them again and again, for a third of a short command's time.
    """
    gc.set_threshold(*RARELY)
    atexit.register(gc.freeze)  # what is frozen is not looked through, and the system takes all memory back anyway


def collect_as_usual() -> None:
    """For one that goes on for long: what hangs in a circle holds memory until it is collected."""
    gc.set_threshold(*USUAL)
