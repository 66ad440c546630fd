"""The document of /v1/schema: what a person reads, and what a client fetches."""

import json
from pathlib import Path

from engine.schema import Schema
from serving.rendering.schema_document import SchemaDocument, schema_document
from serving.static import DIST
from tests.serving.rendering.conftest import CHARACTER, ROOT


def published(folder: Path) -> SchemaDocument:
    schema = Schema.load(folder)
    return schema_document(schema, "md5", "v1", thumbnails=True)


def test_parts_come_in_the_order_that_a_person_expects_and_hold_everything_once() -> None:
    document = published(CHARACTER)
    labels = [part.label for part in document.parts]
    assert labels[0] == "Overall" and labels[-1] == "Asymmetry"
    assert labels.index("Eyes") < labels.index("Nose") < labels.index("Mouth") < labels.index("Chin & jaw")
    assert sorted(name for part in document.parts for name in part.sliders) == sorted(s.name for s in document.sliders)
    assert sorted(name for part in document.parts for name in part.groups) == sorted(g.name for g in document.groups)


def test_every_choice_of_the_embedded_character_has_words_of_its_own() -> None:
    for group in published(CHARACTER).groups:
        labels = [choice.label for choice in group.choices]
        assert len(set(labels)) == len(labels)
        assert not any(character.isdigit() or character == "_" for label in labels for character in label), labels


def test_the_page_translates_every_word_of_the_embedded_character() -> None:
    document = published(CHARACTER)
    words = {part.label for part in document.parts} | {group.label for group in document.groups}
    words |= {word for slider in document.sliders for word in (slider.label, slider.low, slider.high) if word}
    words |= {choice.label for group in document.groups for choice in group.choices}
    translated = DIST.parent / "tests" / "words.json"
    assert set(json.loads(translated.read_text())) == words, f"change {translated}, then the catalogues"


def test_a_schema_without_words_is_shown_by_tidied_names(clay: Path) -> None:
    document = published(clay)
    assert [(part.label, part.sliders, part.groups) for part in document.parts] == [
        ("Face", ["seconds"], []),
        ("Skull shape", ["burst"], []),
        ("Look", [], ["glaze"]),
    ]
    assert [choice.label for choice in document.groups[0].choices] == ["Red", "Dark blue"]
    assert document.figure is None and document.sliders[0].positive is None


def test_ends_say_what_a_label_says_in_brackets() -> None:
    sex = published(CHARACTER).sliders[0]
    assert (sex.label, sex.low, sex.high) == ("Sex", "female", "male")


def test_a_character_that_nothing_can_draw_has_no_thumbnails() -> None:
    schema = Schema.load(ROOT / "examples" / "characters" / "marble")
    document = schema_document(schema, "md5", "v1", thumbnails=False)
    assert {choice.thumbnail for group in document.groups for choice in group.choices} == {None}
