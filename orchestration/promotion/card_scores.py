"""What a scorecard says on a model card: the main scores, those on real people, those by group, and known failures.

A failure is read off the figures by a rule that is written here; none is typed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestration.registry.gate import LOWER_IS_BETTER
from stages.data.appearance_labels import VALUES
from stages.evaluation.scores import FEWEST, HEADLINES, find, scores

Document = dict[str, Any]
REAL = ("appearance", "likeness.real_photos", "likeness.imitator_real_photos", "verification.sets")
"""Where in a scorecard the scores of real people stand, as the beginnings of their paths."""
PHOTOS, PORTRAITS = "real photos, by their labels", "held-out portraits, by their true parameters"
FACES_MISSED, HALF = 0.1, 0.5
"""A degradation is told of from the strength at which a tenth of the faces is missed, or half the recovery is lost."""


def main(card: Mapping[str, Any]) -> list[Document]:
    """The scores that head the scorecard's page, with their meaning."""
    found = ((path, name, note, find(card, path)) for path, name, note in HEADLINES)
    return [{"path": path, "name": name, "note": note, **score} for path, name, note, score in found if score]


def real_people(card: Mapping[str, Any]) -> list[Document]:
    """Every score of real photos of people who never trained; those that have no value say why."""
    return [
        {"path": path, **score}
        for path, score in scores(card)
        if any(path == begin or path.startswith((f"{begin}.", f"{begin}_")) for begin in REAL)
    ]


def by_group(card: Mapping[str, Any]) -> list[Document]:
    """Scores of groups of the same people: one entry a group, real people first."""
    return [
        {"of": of, "dimension": dimension, "group": group, "people": entry["people"], "scores": _only_scores(entry)}
        for of, section in _grouped(card)
        for dimension, groups in section.items()
        if dimension != "largest"
        for group, entry in groups.items()
    ]


def _grouped(card: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The two kinds of people who are grouped, and of each {dimension: {group: …}} with `largest` beside."""
    section = card.get("groups") or {}
    yield PHOTOS, section.get("labelled_photos") or {}
    others = {"labelled_photos", "everybody"}
    yield PORTRAITS, {name: entry for name, entry in section.items() if name not in others and "value" not in entry}


def _only_scores(entry: Mapping[str, Any]) -> Document:
    return {name: score for name, score in entry.items() if isinstance(score, Mapping)}


def failures(card: Mapping[str, Any]) -> Iterator[Document]:
    """Where the figures say that it fails: groups that are worse off, groups that nobody was scored of, scores that are
    not certainly better than the average face's, and photos that it reads badly.
    """
    for of, section in _grouped(card):
        yield from _worse_groups(of, section.get("largest") or {})
    yield from _unseen(card)
    for score in (*main(card), *real_people(card)):
        yield from _no_better(score)
    yield from _bad_photos(card.get("robustness") or {})


def _worse_groups(of: str, largest: Mapping[str, Any]) -> Iterator[Document]:
    """Differences that sorting the same people by lot does not explain: the interval lies above what that gives."""
    for name, entry in largest.items():
        difference = entry["difference"]
        if not difference["ci"] or difference["ci"][0] <= difference["baseline"]:
            continue
        is_lower_better = name.endswith(tuple(LOWER_IS_BETTER))
        worse, better = (entry["highest"], entry["lowest"])[:: 1 if is_lower_better else -1]
        text = f"{_words(name)} is worse for {_words(worse)} than for {_words(better)}, by {_words(entry['by'])} ({of})"
        yield {"kind": "group", "text": text, "score": name, "group": worse, "beside": better, **difference}


def _unseen(card: Mapping[str, Any]) -> Iterator[Document]:
    """Groups of real people of whom nobody, or too few, were scored: nothing is known of them."""
    photos = dict(_grouped(card))[PHOTOS]
    for dimension, groups in photos.items():
        for group in VALUES.get(dimension, ()):
            people = groups.get(group, {}).get("people", 0)
            if people < FEWEST:
                of = f"{_words(dimension)} {group}"
                text = f"only {people} scored real people are of {of}: how it reads them is not known"
                yield {"kind": "unseen", "text": text, "dimension": dimension, "group": group, "people": people}
    if card and not photos:
        text = "no scored real person has a label of sex, age or skin tone: how it reads groups of people is not known"
        yield {"kind": "unseen", "text": text, "people": 0}


def _no_better(score: Mapping[str, Any]) -> Iterator[Document]:
    """A score whose interval reaches what the average face, or chance, has."""
    value, baseline, ends = (score.get(key) for key in ("value", "baseline", "ci"))
    if value is None or baseline is None or not ends:
        return
    name = str(score["path"])
    is_better = ends[1] < baseline if name.rsplit(".", 1)[-1] in LOWER_IS_BETTER else ends[0] > baseline
    if not is_better:
        text = f"{score.get('name') or _words(name)} is not certainly better than the average face's, or chance"
        yield {
            "kind": "baseline",
            "text": text,
            **{key: score.get(key) for key in ("path", "value", "ci", "baseline", "n")},
        }


def _bad_photos(robustness: Mapping[str, Any]) -> Iterator[Document]:
    """For each way in which photos get worse, the first strength at which much is lost."""
    before = (robustness.get("undegraded") or {}).get("recovery", {}).get("value")
    for name, section in robustness.items():
        for strength, found in section.items():
            if name == "undegraded" or not isinstance(found, Mapping):
                continue
            missed = (found.get("no_face") or {}).get("value") or 0.0
            recovery = (found.get("recovery") or {}).get("value")
            if missed >= FACES_MISSED or (recovery is not None and before and recovery < HALF * before):
                lost = f"no face is found in {missed:.0%}, " if missed else ""
                rest = "" if recovery is None or before is None else f"recovery {recovery:.2f} instead of {before:.2f}"
                text = f"photos spoilt by {_words(name)} {strength} ({section['unit']}): {lost}{rest}".rstrip(", ")
                yield {"kind": "photo", "text": text, "degradation": name, "strength": strength, "no_face": missed}
                break


def refused_photos(faces: Mapping[str, Any]) -> list[Document]:
    """What share of the photos could not be aligned, of the figures of `aligned_faces`."""
    share = faces.get("quarantined_share")
    if not share:
        return []
    why = "unreadable, without a face, too small or turned away"
    text = f"{share:.1%} of the photos, portraits among them, were refused: {why}"
    return [{"kind": "refused", "text": text, "share": share}]


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", ", ")
