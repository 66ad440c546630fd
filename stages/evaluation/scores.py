"""The scores of a scorecard by their dotted paths, which of them come first, and how figures are written for people."""

from collections.abc import Iterator, Mapping
from typing import Any

PRODUCTION, DIFFERENCES = "production", "differences"
"""The section of the version in production, and in it the candidate's scores less its own."""
FEWEST = 5  # people of a group that is compared with others
# Path in the card, what it is called, and what it means.
HEADLINES = (
    ("recovery.visible", "Recovery", "R² of the sliders that a frontal picture shows"),
    ("recovery.groups_mean", "Choices", "share of right choices; baseline: the commonest choice in training"),
    ("verification.parameters_pca", "Verification", "same person or not, from parameters alone, PCA-normalised"),
    ("verification.ratio", "Verification over bound", "the same, over what the recogniser itself reaches"),
    ("likeness.similarity", "Likeness", "the judge's similarity of portrait and render; bound: the true parameters"),
    ("likeness.similarity_gain", "Likeness gained", "the same less the average face's, portrait by portrait"),
    ("likeness.rank1", "Rank 1", "the judge finds the person from the render; baseline: chance"),
    ("likeness.rank1_times_chance", "Rank 1 over chance", "how many times more often than by chance"),
    ("likeness.rank5", "Rank 5", "the person is among the first five"),
    ("likeness.real_photos", "Real photos", "the judge's similarity of photo and render"),
    ("likeness.real_photos_gain", "Real photos gained", "the same less the average face's, photo by photo"),
    ("likeness.real_photos_rank1", "Real photos, rank 1", "found among all other photos, of people with two or more"),
    ("imitator.psnr_head", "Imitator", "PSNR inside the head, dB, at parameters drawn at random"),
    ("imitator.given.psnr_head", "Imitator as used", "the same at what the encoder gives"),
    ("parsing.mean", "Parsing", "mean F1 of the label maps"),
    ("identity.portraits_after", "Recogniser", "verification by its own embeddings"),
)


def scores(card: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every score of the candidate, {"value", …}, with its dotted path."""
    for name, entry in card.items():
        if not isinstance(entry, Mapping) or name in (PRODUCTION, DIFFERENCES):
            continue
        if "value" in entry:
            yield f"{prefix}{name}", entry
        else:
            yield from scores(entry, f"{prefix}{name}.")


def find(card: Mapping[str, Any], path: str) -> Mapping[str, Any] | None:
    """The score at a dotted path, or the imitator's stand-in where it is null; None when it is not in the card."""
    *sections, name = path.split(".")
    found: Any = card
    for section in sections:
        found = found.get(section, {}) if isinstance(found, Mapping) else {}
    score = found.get(name)
    stand_in = found.get(f"imitator_{name}")
    if stand_in and score and score.get("value") is None:
        return stand_in
    return score if isinstance(score, Mapping) and "value" in score else None


def number(value: float | None) -> str:
    """A figure as a reader wants it; a dash for none."""
    if value is None:
        return "–"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def interval(ends: tuple[float, float] | None) -> str:
    """Both ends of a confidence interval; nothing where there is none."""
    return "" if not ends else f"{number(ends[0])} to {number(ends[1])}"


def words(name: str) -> str:
    """A key as words."""
    return name.replace("_", " ")
