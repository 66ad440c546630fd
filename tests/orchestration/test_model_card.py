"""The model card of a version says what is recorded, and of the rest that it is not known."""

import json
import shutil
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from mlflow import MlflowClient
from typer.testing import Result

from orchestration.config.settings import REPOSITORY, Settings
from orchestration.promotion import card_pages, card_scores, model_card
from orchestration.registry.registered_models import Registry
from orchestration.storage.store import Store
from orchestration.storage.tracking import Tracking
from orchestration.storage.version_index import VersionIndex
from stages.data import origins
from tests.orchestration import registered_before
from tests.orchestration.promoting import Pipeline, figures, likeness, score

pytestmark = pytest.mark.slow

__all__ = ["likeness"]
PEOPLE = {"f": {"people": 70, "beard": score(0.9, None, 0.05)}, "m": {"people": 3, "beard": score(0.8, None, 0.05)}}
CARD = {
    "recovery": {"visible": score(0.3, 0.0, 0.05)},
    "likeness": {"similarity": score(0.8, 0.79, 0.02), "real_photos": {**score(0.9, 0.8, 0), "ci": None}},
    "appearance": {"skin_error": score(0.4, 0.9, 0.1), "beard": {**score(0, None, 0), "value": None, "reason": "bare"}},
    "groups": {
        "everybody": {"people": 9, "recovery_visible": score(0.3, None, 0.1)},
        "labelled_photos": {
            "sex": PEOPLE,
            "largest": {
                "beard": {"by": "sex", "highest": "f", "lowest": "m", "difference": score(0.1, 0.02, 0.05)},
                "appearance_skin_error": {
                    "by": "sex", "highest": "m", "lowest": "f", "difference": score(0.5, 0.02, 0.05)
                },
                "likeness": {"by": "sex", "highest": "f", "lowest": "m", "difference": score(0.03, 0.02, 0.05)},
            },
        },
    },
    "robustness": {
        "undegraded": {"recovery": score(0.3, 0, 0.1)},
        "blur": {
            "unit": "pixels",
            "2": {"recovery": score(0.25, 0, 0.1), "no_face": score(0, None, 0)},
            "8": {"recovery": score(0.1, 0, 0.1), "no_face": score(0.4, None, 0.1)},
        },
    },
}  # fmt: skip


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return Registry(Tracking.of(settings), "embedded")


@pytest.fixture
def registered(registry: Registry) -> Callable[..., str]:
    """Registers a version with this scorecard and these tags."""
    client = registry.client
    client.create_registered_model(registry.name)

    def register(card: Mapping[str, Any], **tags: str) -> str:
        with registry.tracking.run("production_encoder", {}) as run:
            run.document(card, "scorecard.json")
        number = str(client.create_model_version(registry.name, "file:///nowhere", run.run_id).version)
        for name, value in tags.items():
            client.set_model_version_tag(registry.name, number, name, value)
        return number

    return register


def describe(registry: Registry, settings: Settings, instance: dg.DagsterInstance, version: str = "1") -> Any:
    return model_card.describe(registry, version, Store.of(settings), VersionIndex(instance))


def artifact(registry: Registry, version: str, name: str, folder: Path) -> str:
    run = str(registry.find(version).run_id)
    return Path(registry.client.download_artifacts(run, name, str(folder))).read_text()


# --- from a run


def test_a_run_leaves_a_card_with_the_version_that_it_registers(
    settings: Settings, instance: dg.DagsterInstance, likeness: Callable[..., Result], tmp_path: Path
) -> None:
    run = Pipeline(settings, instance)
    run("a", beats_baseline={"likeness.similarity": "interval"})
    registry, made = run.registry, run.metadata("production_encoder")
    card = json.loads(artifact(registry, "1", "model_card.json", tmp_path))
    assert (card["model"]["md5"], card["made"]["profile"]) == (made["md5"], made["profile"])
    assert card["made"]["inputs"] == made["lineage"]
    assert [step["asset"] for step in card["made"]["steps"]][-2:] == ["scorecard", "production_encoder"]
    encoder = next(step for step in card["made"]["steps"] if step["asset"] == "encoder")
    assert encoder["config"] == {"text": "a"} and encoder["mlflow_run"] == run.metadata("encoder")["mlflow_run_id"]
    assert not [line for line in card["unknown"] if "Dagster has no record of" in line]
    assert [entry["path"] for entry in card["scores"]] == ["recovery.visible", "likeness.similarity"]
    # The landmark model of this test is no more than its name.
    (landmarks,) = [one for one in card["weights"] if one["in_the_model"]]
    assert landmarks["as_described"] is False and set(landmarks["md5"]) == {"landmarks/face_landmarker.task"}
    assert "text: a" in artifact(registry, "1", "model_card.md", tmp_path)
    page = registry.find("1").description
    assert page and page.endswith(card_pages.MORE) and "## Known failures" in page

    asked = json.loads(likeness("card", "production", "--json").stdout)
    for both in (asked, card):
        both["made"]["steps"][-1].pop("when")
        both["model"].pop("aliases")
    assert asked == card, "made anew it says the same"


def test_a_card_that_cannot_be_made_keeps_no_model_from_being_registered(
    settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_card, "describe", lambda *given: 1 / 0)
    run = Pipeline(settings, instance)
    assert run("a").refused == [] and run.registry.aliases()["production"] == "1"
    assert not run.registry.find("1").description


# --- from what is recorded


def test_a_version_that_was_registered_before_there_were_cards_has_one(
    settings: Settings, likeness: Callable[..., Result], tmp_path: Path
) -> None:
    registered_before.register(settings, registered_before.unpack(tmp_path / "package"))
    shown = likeness("card", "1")
    assert shown.exit_code == 0, shown.output
    assert "## Not known" in shown.stdout and "- how encoder was made: Dagster has no record of " in shown.stdout
    card = json.loads(likeness("card", "1", "--json").stdout)
    assert card["scores"] and card["model"]["md5"] == registered_before.RECORDS["version"]["tags"]["md5"]
    assert likeness("card", "1", "--keep", "--html", str(tmp_path / "card.html")).exit_code == 0
    registry = Registry(Tracking.of(settings), "embedded")
    assert artifact(registry, "1", "model_card.html", tmp_path) == (tmp_path / "card.html").read_text()
    assert "has no version 7" in likeness("card", "7").stderr


def test_a_description_that_somebody_wrote_stays(
    registry: Registry, registered: Callable[..., str], likeness: Callable[..., Result]
) -> None:
    registered(figures(0.8))
    registry.client.update_model_version(registry.name, "1", "Ask Anna.")
    assert likeness("card", "1", "--keep").exit_code == 0
    assert registry.find("1").description == "Ask Anna."


def test_photos_that_come_with_the_project_have_their_licences_wherever_they_lie(
    settings: Settings, instance: dg.DagsterInstance, registry: Registry, registered: Callable[..., str]
) -> None:
    photos = settings.data / "photos"
    (photos / "me").mkdir()
    shutil.copyfile(REPOSITORY / "examples" / "photos" / "sunak" / "sunak.jpg", photos / "me" / "renamed.jpg")
    (photos / "me" / "own.jpg").write_bytes(b"own")
    (photos / "labels.csv").write_text("file,sex\n")
    (photos / "someone" / "content.txt").unlink()
    registered({}, **{"input.photos": Store.of(settings).put(photos)})
    source = describe(registry, settings, instance)["data"]["sources"][0]
    assert (source["photos"], source["others"]) == (2, 1)
    assert [(one["person"], one["license"]) for one in source["examples"]] == [("Rishi Sunak", "CC BY 3.0")]


def test_weights_of_which_nothing_is_known_are_named(
    settings: Settings, instance: dg.DagsterInstance, registry: Registry, registered: Callable[..., str], gathered: Path
) -> None:
    md5 = Store.of(settings).put(gathered)
    registered({}, **{"input.embedded": md5})
    card = describe(registry, settings, instance)
    weights = {one["name"]: one for one in card["weights"]}
    assert {one.name for one in origins.load().parts if one.weights and one.of(origins.manifest())} == set(weights)
    assert all(one["as_described"] for one in weights.values()), "the very files that the manifest lists"
    assert weights["MediaPipe Face Landmarker"]["in_the_model"] is True
    assert weights["SFace"]["in_the_model"] is None, "nobody knows the recogniser's configuration"
    assert weights["dlib's 5-point predictor"]["in_the_model"] is False
    assert "what MediaPipe Face Landmarker was trained on" in card["unknown"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"backbone": "sface"}, (True, False)),
        ({"backbone": "faceres+sface", "weights": None}, (True, True)),
        ({"backbone": "sface", "weights": "/models/own.onnx"}, (False, False)),
        ({"backbone": "lightcnn29v2"}, (False, False)),
    ],
)
def test_which_recognisers_a_model_carries_follows_from_its_configuration(config: Any, expected: Any) -> None:
    parts = {part.name: part for part in origins.load().parts}
    found = (model_card._is_in_model(parts[name], config) for name in ("SFace", "HSE-FaceRes"))
    assert tuple(found) == expected


# --- what the figures say


def test_known_failures_are_read_off_the_figures() -> None:
    found = list(card_scores.failures(CARD))
    told = {(one["kind"], one["text"].split(" (")[0]) for one in found}
    assert told == {
        ("group", "beard is worse for m than for f, by sex"),
        ("group", "appearance skin error is worse for m than for f, by sex"),
        ("unseen", "only 3 scored real people are of sex m: how it reads them is not known"),
        ("baseline", "Likeness is not certainly better than the average face's, or chance"),
        ("photo", "photos spoilt by blur 8"),
    }
    assert "no face is found in 40%, recovery 0.10 instead of 0.30" in found[-1]["text"]
    assert [one["text"] for one in card_scores.failures({"recovery": CARD["recovery"]})] == [
        "no scored real person has a label of sex, age or skin tone: how it reads groups of people is not known"
    ]
    assert list(card_scores.failures({})) == [], "of what was never scored nothing is said here"


def test_scores_of_real_people_and_of_groups_stand_apart() -> None:
    assert [one["path"] for one in card_scores.real_people(CARD)] == [
        "likeness.real_photos", "appearance.skin_error", "appearance.beard",
    ]  # fmt: skip
    groups = card_scores.by_group(CARD)
    assert [(one["of"], one["group"], one["people"]) for one in groups] == [
        (card_scores.PHOTOS, "f", 70), (card_scores.PHOTOS, "m", 3),
    ]  # fmt: skip
    assert set(groups[0]["scores"]) == {"beard"}


# --- pages


class Cells(HTMLParser):
    """How many cells each row of each table has, and which elements there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[int]] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.add(tag)
        if tag == "table":
            self.rows.append([])
        elif tag == "tr":
            self.rows[-1].append(0)
        elif tag in ("td", "th"):
            self.rows[-1][-1] += 1


def test_pages_are_whole_whatever_people_wrote(
    settings: Settings, instance: dg.DagsterInstance, registry: Registry, registered: Callable[..., str]
) -> None:
    registered(CARD, profile="a|b <script>alert(1)</script>")
    card = describe(registry, settings, instance)
    card["failures"] *= 200
    text = card_pages.description(card)
    assert len(text) <= card_pages.MOST_DESCRIPTION and text.endswith(card_pages.MORE)
    MlflowClient(registry.tracking.uri).update_model_version(registry.name, "1", text)
    page = Cells(card_pages.html(card))
    assert "script" not in page.names and {"table", "h1", "li"} <= page.names
    assert all(len(set(table)) == 1 for table in page.rows), "every row of a table has as many cells"
    assert card_pages.html(card).count("beard is worse for m") == 200
