"""Python's collector of garbage, while a command starts."""

import gc

USUAL = gc.get_threshold()
RARELY = (20_000, *USUAL[1:])
"""A command imports a million objects, which all stay: the collector, called for every 700 new ones, would go through
them again and again, for a quarter of the time.
"""


def collect_rarely() -> None:
    """For a process that has just begun."""
    gc.set_threshold(*RARELY)


def collect_as_usual() -> None:
    """For one that goes on for long: what hangs in a circle holds memory until it is collected."""
    gc.set_threshold(*USUAL)
