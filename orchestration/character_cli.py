"""`likeness character`: what technical artists do with a character before the pipeline sees it."""

from __future__ import annotations

import typer

app = typer.Typer(help="A studio's own character: write a template, check it, look at it.", no_args_is_help=True)
