"""The commands of `likeness`."""

from orchestration.cli.main import app

__all__ = ["app"]
