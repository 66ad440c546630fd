"""`python -m orchestration.cli` is `likeness`, without its script on the path."""

from orchestration.cli.main import app

app()
