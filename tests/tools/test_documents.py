"""Documents name files that exist, and link to pages and headings that exist."""

import re
from pathlib import Path

import pytest

from tools.lock import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FILE = re.compile(r"`((?:engine|models|stages|orchestration|serving|tests|tools|docs|deploy|examples)/[\w./-]+)`")
EXAMPLES = {"stages/average_face.py", "tests/stages/test_average_face.py", "stages/evaluation/name.py"}
"""Files that a reader of CONTRIBUTING.md writes."""
LINK = re.compile(r"\]\(([^)\s]+)\)")


def heading_links(document: Path) -> set[str]:
    """The headings of a document as links name them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_and_links_of_a_document_exist(document: Path) -> None:
    text = document.read_text()
    missing = {name for name in {*FILE.findall(text)} - EXAMPLES if not (ROOT / name).exists()}
    for link in LINK.findall(text):
        name, _, heading = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if "://" not in link and (not target.exists() or (heading and heading not in heading_links(target))):
            missing.add(link)
    assert missing == set()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert [
        page.name for page in ROOT.glob("docs/*.md") if f"]({page.name})" not in index and page.name != "README.md"
    ] == []
