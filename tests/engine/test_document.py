"""A character.json that somebody edited by hand is read, or refused in one line that names file, key and remedy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.character_json import DocumentError, read_document
from engine.schema import Schema, SchemaError


@pytest.fixture(scope="module")
def schema(character: Path) -> Schema:
    return Schema.load(character)


def document(schema: Schema) -> dict[str, Any]:
    return {"format": 1, "character": "embedded", "schema_md5": "0" * 32, **schema.to_document(schema.neutral())}


def put(*path: str) -> Callable[[Any], Callable[[dict[str, Any]], None]]:
    def with_value(value: Any) -> Callable[[dict[str, Any]], None]:
        def change(content: dict[str, Any]) -> None:
            for key in path[:-1]:
                content = content[key]
            content[path[-1]] = value

        return change

    return with_value


SECTIONS = [
    (put("format")(2), "format 2"),
    (put("format")(None), "format None"),
    (put("character")(None), "character is null: it must be the character's name"),
    (put("character")(["embedded"]), 'character is ["embedded"]'),
    (put("schema_md5")(7), "schema_md5 is 7"),
    (put("parameters")(None), "parameters is null: it must be an object"),
    (put("parameters")([0.5]), "parameters is [0.5]"),
    (put("discrete")("short02"), 'discrete is "short02": it must be an object'),
    (lambda d: d.pop("discrete"), "lacks discrete"),
]
ENTRIES = [
    *[
        (put("parameters", "nose_width")(v), f"parameters.nose_width is {json.dumps(v)}")
        for v in ("wide", "0.5", None, [], {}, True)
    ],
    *[
        (put("parameters", "nose_width")(v), "parameters.nose_width is")
        for v in (float("nan"), float("inf"), -0.01, 1.5, 10**400)
    ],
    (put("parameters", "third_eye")(0.5), "unknown ['third_eye']"),
    (lambda d: d["parameters"].pop("nose_width"), "missing ['nose_width']"),
    (put("discrete", "hair")("short02"), 'discrete.hair is "short02": write {"choice": "short02"}'),
    *[(put("discrete", "hair")(v), "discrete.hair is") for v in (None, 3, ["short02"], True)],
    *[(put("discrete", "hair", "choice")(v), "discrete.hair.choice is") for v in (None, "mohawk", 3, ["short02"], {})],
    (put("discrete", "hair")({}), "discrete.hair.choice is null, not one of"),
    (put("discrete", "tail")({"choice": "long"}), "unknown ['tail']"),
    (lambda d: d["discrete"].pop("hair"), "missing ['hair']"),
]


@pytest.mark.parametrize(("change", "message"), SECTIONS)
def test_a_section_of_another_kind_is_named(schema: Schema, tmp_path: Path, change: Any, message: str) -> None:
    content = document(schema)
    change(content)
    path = tmp_path / "character.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DocumentError) as error:
        read_document(path)
    assert message in str(error.value) and str(path) in str(error.value) and "create" in str(error.value)


@pytest.mark.parametrize(("change", "message"), ENTRIES)
def test_an_entry_that_is_none_is_named(schema: Schema, change: Any, message: str) -> None:
    content = document(schema)
    change(content)
    with pytest.raises(SchemaError) as error:
        schema.from_document(content["parameters"], content["discrete"])
    assert message in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("probabilities", [None, {}, {"short02": 7}, "all", {"mohawk": 1.0}])
def test_probabilities_do_not_matter_for_what_is_drawn(schema: Schema, probabilities: Any) -> None:
    content = document(schema)
    expected = schema.from_document(content["parameters"], content["discrete"]).tolist()
    content["discrete"]["hair"]["probabilities"] = probabilities
    assert schema.from_document(content["parameters"], content["discrete"]).tolist() == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_any_encoding_of_an_editor_is_read(schema: Schema, tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "character.json"
    path.write_text(json.dumps(document(schema)), encoding=encoding)
    assert read_document(path) == document(schema)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{'format': 1}", b"\xff\xff{", b"[" * 100_000, b"null", b"[1]", b'"text"']
)
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "character.json"
    path.write_bytes(content)
    with pytest.raises(DocumentError) as error:
        read_document(path)
    assert str(path) in str(error.value) and "create" in str(error.value) and "\n" not in str(error.value)
