"""Two versions on the same people: paired intervals by known numbers, and each version's own code in one process."""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from engine.schema import Schema
from orchestration.promotion import packaging
from stages.evaluation import metrics, production, schema_mapping
from stages.evaluation.context import EvaluationContext
from tests.stages.small_tables import CHARACTER
from tests.untrained import networks

pytestmark = pytest.mark.slow

PEOPLE = np.arange(200)


def test_a_small_difference_shows_although_both_intervals_overlap() -> None:
    """Some people are far harder than others, for both versions alike."""
    rng = np.random.default_rng(0)
    hard = rng.normal(size=len(PEOPLE))
    theirs, ours = hard, hard + 0.05 + 0.02 * rng.normal(size=len(PEOPLE))
    a, b = metrics.mean_score(ours, PEOPLE), metrics.mean_score(theirs, PEOPLE)
    found = production.difference(a, b)
    assert found["value"] == pytest.approx(0.05, abs=0.005)
    low, high = found["ci"]
    expected = 1.96 * 0.02 / np.sqrt(len(PEOPLE))
    assert (high - low) / 2 == pytest.approx(expected, rel=0.15) and low > 0.045
    assert a["ci"] and b["ci"] and a["ci"][0] < b["ci"][1], "unpaired they cannot be told apart"


def test_the_same_figures_differ_by_nothing() -> None:
    values = np.random.default_rng(0).normal(size=len(PEOPLE))
    found = production.difference(metrics.mean_score(values, PEOPLE), metrics.mean_score(values, PEOPLE))
    assert found == {"value": 0.0, "ci": [0.0, 0.0], "n": 200}


def test_other_people_are_not_paired() -> None:
    few, many = (metrics.mean_score(np.arange(float(n)), np.arange(n)) for n in (5, 6))
    assert production.difference(few, many)["ci"] is None


def test_only_what_both_have_is_compared_and_resamples_are_not_written() -> None:
    own = metrics.mean_score(np.ones(4), np.arange(4))
    card = {"a": {"b": own, "c": own, "on": "portraits"}, "d": metrics.nothing("no")}
    differences = production.differences(card, {"a": {"b": own, "c": metrics.nothing("older")}, "d": own})
    assert list(differences) == ["a.b"]
    assert "resampled" not in json.dumps(production.written(card))


def pack(root: Path, code: Path = packaging.CODE, character: Path = CHARACTER) -> Path:
    """A packed encoder with untrained networks."""
    out = root / "packed"
    out.mkdir(parents=True)
    packaging.pack(networks(root, character), out, code)
    return out


def later_code(folder: Path) -> Path:
    """A version of models/ whose encoder says that every slider is at its end."""
    shutil.copytree(packaging.CODE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    encoder = folder / "encoder.py"
    text = encoder.read_text()
    line = "        return self(self.look(identity, faces)[1])\n"
    assert line in text
    encoder.write_text(text.replace(line, "        return torch.ones_like(self(self.look(identity, faces)[1]))\n"))
    return folder


def test_two_versions_answer_in_one_process_each_by_its_own_code(tmp_path: Path) -> None:
    schema, faces = Schema.load(CHARACTER), torch.rand(2, 3, 128, 128)
    folders = [pack(tmp_path / "now"), pack(tmp_path / "later", later_code(tmp_path / "code"))]
    with torch.no_grad():
        answers = []
        for folder in (*folders, folders[0]):
            networks = schema_mapping.networks(folder, schema, "cpu")
            answers.append(networks.encoder.read(networks.identity, faces))
    assert torch.equal(answers[1], torch.ones_like(answers[1]))
    assert torch.equal(answers[0], answers[2]) and not torch.equal(answers[0], answers[1])


def test_what_an_older_version_cannot_do_is_null_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pack(tmp_path / "old")
    loader = (folder / "loader.py").read_text()
    (folder / "loader.py").write_text(loader.replace("def load_parser", "def load_a_parser"))
    networks = schema_mapping.networks(folder, Schema.load(CHARACTER), "cpu")
    with pytest.raises(schema_mapping.CannotDo, match="registered before there was load_parser"):
        networks.parser(torch.rand(1, 3, 64, 64))

    def parsing(evaluation: Any, report: Any) -> dict[str, Any]:
        return {"mean": metrics.mean_score(evaluation.parser(0), PEOPLE)}

    own = SimpleNamespace(schema=Schema.load(CHARACTER), context=SimpleNamespace(device="cpu"), inputs={})
    card = {"parsing": {"mean": metrics.mean_score(np.ones(200), PEOPLE), "classes": {"skin": metrics.score(1.0, n=1)}}}
    monkeypatch.setattr(production, "with_version", lambda evaluation, folder: networks)
    found = production.beside(own, card, (parsing,), folder)  # pyright: ignore[reportArgumentType]
    reason = "the version in production cannot be scored: it was registered before there was load_parser"
    assert found["parsing"]["mean"] == metrics.nothing(reason) == found["parsing"]["classes"]["skin"]
    assert found["differences"] == {}


def test_nobody_whom_production_learned_from_is_in_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = pd.DataFrame({"source": "portraits", "person": [f"{k:05d}" for k in range(30)]})
    x = np.arange(60.0).reshape(30, 2)

    def compared(taught: int) -> dict[str, Any]:
        before = people.assign(split=["train", "val"] * (taught // 2) + ["test"] * (30 - taught))
        now = people.assign(split="test", person="portraits/" + people["person"])
        for name, table in (("before", before), ("now", now)):
            (tmp_path / name).mkdir(exist_ok=True)
            table.to_parquet(tmp_path / name / "faces.parquet")
        inputs = {"aligned_faces": tmp_path / "now", production.LEARNED_FROM: tmp_path / "before"}
        given = {field.name: None for field in fields(EvaluationContext)} | {"known": {}, "inputs": inputs}
        evaluation = EvaluationContext(**{**given, "faces": now, "photos": now[:0], "x": x})  # pyright: ignore
        return production.beside(evaluation, {"recovery": recovery(evaluation, None)}, (recovery,), tmp_path)

    def recovery(evaluation: Any, report: Any) -> dict[str, Any]:
        return {"visible": metrics.mean_score(evaluation.x[:, 0], evaluation.faces["person"])}

    monkeypatch.setattr(production, "with_version", lambda evaluation, folder: replace(evaluation, x=evaluation.x - 1))
    found = compared(16)
    assert found["recovery"]["visible"]["value"] == x[16:, 0].mean() - 1 and found["people"] == 14
    assert found["differences"] == {"recovery.visible": {"value": 1.0, "ci": None, "n": 14}}
    assert "people" not in compared(0) and compared(0)["differences"]["recovery.visible"]["n"] == 30
    assert "it learned from 28 of the 30 people to test on" in compared(28)["recovery"]["visible"]["reason"]


def test_a_version_that_cannot_be_loaded_at_all_does_not_stop_the_candidate(tmp_path: Path) -> None:
    evaluation = SimpleNamespace(schema=Schema.load(CHARACTER), context=SimpleNamespace(device="cpu"), inputs={})
    card = {"recovery": {"visible": metrics.mean_score(np.ones(200), PEOPLE)}}

    def recovery(evaluation: Any, report: Any) -> dict[str, Any]:
        raise AssertionError("it was never loaded")

    found = production.beside(evaluation, card, (recovery,), tmp_path)  # pyright: ignore[reportArgumentType]
    assert "registered without a loader.py" in found["recovery"]["visible"]["reason"]


def test_answers_are_carried_over_to_a_schema_that_changed_by_the_names_of_parameters(tmp_path: Path) -> None:
    old, new = (Schema.model_validate(document) for document in (schema("ab", "xy"), schema("bca", "yz")))
    carried = schema_mapping.SchemaMapping.between(old, new)
    assert carried is not None and schema_mapping.SchemaMapping.between(old, old) is None
    x = carried(torch.tensor([[0.1, 0.2, 0.3, 0.7]]))
    # b, c at its neutral value, a; y as it was, z unknown to the older version.
    assert x[0].tolist() == pytest.approx([0.2, 0.5, 0.1, 0.7, 0.0])


def test_an_older_imitator_draws_what_its_own_schema_can_say_and_names_what_it_cannot() -> None:
    old, new = (Schema.model_validate(document) for document in (schema("ab", "xy"), schema("bca", "yz")))
    carried, back = (schema_mapping.SchemaMapping.between(*pair) for pair in ((old, new), (new, old)))
    assert carried is not None and back is not None
    names = ("b", "c", "a", "g y", "g z")
    imitator = schema_mapping.RemappedImitator(lambda x: x, carried, back, names)
    x = torch.tensor([[0.2, 0.5, 0.1, 1.0, 0.0]])
    # a, b; x is no choice any more, y as it was.
    assert imitator(x)[0].tolist() == pytest.approx([0.1, 0.2, 0.0, 1.0])
    x[0, 1], x[0, 4] = 0.6, 0.3
    with pytest.raises(schema_mapping.CannotDo, match=r"before there were c, g z$"):
        imitator(x)


def schema(sliders: str, choices: str) -> dict[str, Any]:
    return {
        "name": "test",
        "label": "test",
        "sliders": [{"name": name, "part": "p", "label": name} for name in sliders],
        "groups": [{"name": "g", "label": "g", "choices": list(choices), "neutral": choices[0]}],
    }
