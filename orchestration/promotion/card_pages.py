"""A model card for people: Markdown for a terminal and for MLflow, and one HTML page without any other file."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from stages.evaluation.scores import interval, number, words

TEMPLATE = "model_card.md.jinja"
MOST_DESCRIPTION = 5000
"""Characters that MLflow's registry keeps of a description."""
MOST_FAILURES = 8
"""In the description."""
MORE = "\n\nThe whole card: the files `model_card.*` of the version's run, or `likeness card`."
STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #8884; padding: .25rem .6rem; text-align: left; vertical-align: top; }
code { font-size: .9em; } pre { overflow-x: auto; }
"""


def markdown(card: Mapping[str, Any], complete: bool = False, short: bool = False) -> str:
    """The card as Markdown; `complete` with every configuration, `short` what fits into a description."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Markdown, so what is written by people is escaped for its tables; markdown-it lets no HTML through.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": number, "interval": interval, "words": words, "known": known, "cell": cell, "yaml": as_yaml
    }  # fmt: skip
    text = environment.get_template(TEMPLATE).render(card, complete=complete, short=short, most=MOST_FAILURES)
    return text.strip() + "\n"


def description(card: Mapping[str, Any]) -> str:
    """What the version's page in MLflow says: the beginning of the card, as much as the registry keeps."""
    text, room = markdown(card, short=True).rstrip(), MOST_DESCRIPTION - len(MORE) - 2
    if len(text) > room:
        text = text[: text.rindex("\n", 0, room)] + "\n…"
    return text + MORE


def html(card: Mapping[str, Any]) -> str:
    """The whole card as a page."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown(card, complete=True))
    body = body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    title = escape(f"{card['model']['name']} version {card['model']['version']}")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Model card: {title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def known(value: object) -> str:
    """What is recorded, or that nothing is."""
    return str(value) if value else "not known"


def cell(text: str) -> str:
    """Text as it may stand in a table: on one line, and no end of a cell in it."""
    return " ".join(str(text).split()).replace("|", "\\|")


def as_yaml(values: Mapping[str, Any]) -> str:
    """A configuration as a profile would have it."""
    import yaml

    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
