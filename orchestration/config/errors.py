"""The one base of errors whose message is meant for the person who asked."""


class LikenessError(Exception):
    """An expected error: its message is one line that says what is wrong and what to do."""
