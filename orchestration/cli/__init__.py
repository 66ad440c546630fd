"""The commands of `likeness`."""

from orchestration.config.garbage import collect_rarely

collect_rarely()  # before the commands import anything

from orchestration.cli.main import app  # noqa: E402

__all__ = ["app"]
