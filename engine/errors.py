"""The base of all errors whose message is meant for the person who asked."""


class LikenessError(Exception):
    """An expected error: its message says what is wrong and what to do, and is shown without a traceback."""
