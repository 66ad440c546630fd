"""The whole pipeline with the smoke profile: photos to a registered encoder, and a real photo to a character."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from orchestration.apps.ablation import VARIANTS
from orchestration.cli.main import app
from orchestration.config.catalog import STAGES
from orchestration.config.profiles import PROFILES
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.promotion.scorecards import scores
from orchestration.storage import versions
from orchestration.storage.instance import open_instance
from orchestration.storage.staged_output import pointed_md5
from tests.marble import changed_table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class Project:
    """A copy of the project's inputs in a temporary folder, and its command line."""

    def __init__(self, root: Path, profile: str = "smoke") -> None:
        self.root, self.profile = root, profile
        (root / ".dvc").mkdir()
        (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
        (root / "data").mkdir()
        (root / "data" / "embedded").symlink_to(REPOSITORY / "data" / "embedded")
        (root / "data" / "photos").symlink_to(REPOSITORY / "data" / "photos")
        shutil.copytree(REPOSITORY / "characters" / "embedded", root / "characters" / "embedded")

    @property
    def environment(self) -> dict[str, str]:
        return {"LIKENESS_ROOT": str(self.root), "LIKENESS_PROFILE": self.profile}

    def __call__(self, *arguments: str) -> str:
        """stdout of `likeness ARGUMENTS`, as a process."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr[-4000:]}"
        return done.stdout

    def ask(self, *arguments: str, status: int = 0) -> str:
        """The same in this process, which has imported everything."""
        done = CliRunner(env=self.environment).invoke(app, list(arguments))
        assert done.exit_code == status, f"{' '.join(arguments)}: {done.output}\n{done.exception!r}"
        return done.stdout

    def error(self, *arguments: str) -> str:
        """stderr of `likeness ARGUMENTS`, which fails, in this process."""
        done = CliRunner(env=self.environment).invoke(app, list(arguments))
        assert done.exit_code == 1, done.output
        return done.stderr

    def imported_by(self, *arguments: str) -> set[str]:
        """The libraries that `likeness ARGUMENTS` has imported in the end."""
        code = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
        done = self._process("-c", f"{code}; from orchestration.cli import app; app()", *arguments)
        assert done.returncode == 0, done.stderr[-4000:]
        return {name.split(".")[0] for name in done.stderr.splitlines()[-1].split()}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._process("-m", "orchestration.cli", *arguments)

    def _process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment, command = {**os.environ, **self.environment}, [sys.executable, *arguments]
        return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, gathered: Path) -> Project:
    return Project(tmp_path_factory.mktemp("smoke"))


@pytest.fixture(scope="module")
def first_run(project: Project) -> dict:
    return json.loads(project("run", "--json"))


@pytest.fixture(scope="module")
def marble_run(project: Project, first_run: dict, marble_character: Path) -> dict:
    """A second character, of which there are only exported pairs, beside the first; one row of its table is spoilt."""
    folder = Path(shutil.copytree(marble_character, project.root / "characters" / "marble"))
    changed_table(folder, 9, JawWidth=130)
    return json.loads(project("run", "--character", "marble", "--json"))


def test_every_asset_is_made_and_tracked(project: Project, first_run: dict) -> None:
    by_character = {stage.name: stage.by_character for stage in STAGES} | {"production_encoder": True}
    names = [f"{name}/embedded" if own else name for name, own in by_character.items()]
    assert first_run["made"] == names
    for name in names:
        assert pointed_md5(project.root / "artifacts" / name), name


def test_nothing_is_made_again_when_another_character_came_and_nothing_changed(
    project: Project, first_run: dict, marble_run: dict
) -> None:
    again = json.loads(project.ask("run", "--json"))
    assert again["made"] == []
    assert len(again["fresh"]) == len(first_run["made"])
    assert project.imported_by("run").isdisjoint({"torch", "mlflow", "pandas", "matplotlib", "mediapipe", "warp"})


def test_the_scorecard_holds_the_contract(project: Project, first_run: dict) -> None:
    card = json.loads(project.ask("scorecard", "--json"))
    sections = {"recovery", "verification", "likeness", "imitator", "parsing", "identity", "throughput"}
    sections |= {"appearance", "robustness", "groups", "search"}
    assert sections | {"production"} == set(card)
    assert card["search"]["refined_by_engine"]["similarity"]["n"] == card["search"]["one_shot"]["similarity"]["n"]
    for section in sections:
        scores = list(_scores(card[section]))
        assert scores, section
        keys = {"value", "baseline", "bound", "ci", "n"}
        assert all(keys <= set(score) <= keys | {"reason", "by"} for score in scores), section
        assert all("reason" in score for score in scores if score["value"] is None and not score["n"]), section
    assert card["production"] is None or card["production"]["version"] == 1


def test_people_are_read_from_several_photos_together(project: Project, first_run: dict) -> None:
    recovery = json.loads(project.ask("scorecard", "--json"))["recovery"]
    assert recovery["visible_together"]["value"] != recovery["visible"]["value"]
    assert 0 < recovery["visible_together"]["n"] <= recovery["visible"]["n"]


def test_the_scorecards_page_needs_no_other_file(project: Project, first_run: dict) -> None:
    shown = project.ask("scorecard").replace("\n", "")
    page = project.root / "artifacts" / "scorecard" / "embedded" / "scorecard.html"
    assert str(page) in shown
    html = page.read_text()
    sources = re.findall(r'(?:src|srcset|href)="([^"]{1,40})', html)
    assert len(sources) > 30 and all(source.startswith(("data:image/", "#")) for source in sources)
    assert "url(" not in html and "@import" not in html and "<script" not in html
    assert "prefers-color-scheme: dark" in html and "width=device-width" in html


def _scores(entry: object) -> list[dict]:
    if not isinstance(entry, dict):
        return []
    return [entry] if "value" in entry else [score for child in entry.values() for score in _scores(child)]


def test_a_real_portrait_becomes_a_character(project: Project, first_run: dict, tmp_path: Path) -> None:
    # The smoke encoder need not have earned the alias `production`.
    photo = project.root / "data" / "photos" / "collins" / "astronaut.png"
    project("create", str(photo), "--out", str(tmp_path), "--model", "newest", "--json")
    folder = tmp_path / "astronaut"
    assert sorted(path.name for path in folder.iterdir()) == ["aligned.png", "character.json", "render.png"]
    character = json.loads((folder / "character.json").read_text())
    assert character["photo"]["faces"] == 1
    inputs = {stage.name for stage in STAGES} | {"embedded", "photos", "character"}
    assert set(character["provenance"]["inputs"]) == inputs
    project.ask("render", str(folder / "character.json"), "--out", str(tmp_path / "again.png"))
    with Image.open(folder / "render.png") as first, Image.open(tmp_path / "again.png") as again:
        assert first.size == again.size


def test_create_refines_by_search_and_says_what_came_of_it(project: Project, marble_run: dict, tmp_path: Path) -> None:
    photo = project.root / "data" / "photos" / "collins" / "astronaut.png"
    ways = (("embedded", "engine", "engine"), ("embedded", "2", "engine"), ("marble", "2", "imitator"))
    for character, way, drawn_by in ways:
        given = ("--character", character, "--model", "newest", "--refine", way, "--size", "128", "--json")
        (answer,) = json.loads(project.ask("create", str(photo), "--out", str(tmp_path / character), *given))
        refinement = json.loads(Path(answer["character"]).read_text())["refinement"]
        assert refinement == answer["refinement"]
        assert (refinement.get("steps"), refinement["drawn_by"]) == (2 if way == "2" else None, drawn_by)
        assert refinement["kept"] in ("refined", "encoder")
        assert len(refinement["identity"]) == len(refinement["content"]) == 2
    given = ("--character", "marble", "--model", "newest", "--refine", "engine")
    assert "only exported pairs" in project.error("create", str(photo), "--out", str(tmp_path / "none"), *given)


def test_several_photos_of_one_person_become_one_character(project: Project, first_run: dict, tmp_path: Path) -> None:
    photos = sorted((project.root / "data" / "photos" / "ardern").iterdir())
    blank = tmp_path / "blank.jpg"
    Image.new("RGB", (300, 300), "grey").save(blank)
    given = ("--model", "newest", "--person", "two", "--out", str(tmp_path), "--size", "64", "--json")
    (answer,) = json.loads(project.ask("create", *map(str, [*photos, blank]), *given))
    document = json.loads(Path(answer["character"]).read_text())
    assert Path(answer["character"]).parent == tmp_path / "two"
    assert len(document["photos"]) == len(photos) + 1 == 3 and "error" in document["photos"][-1]
    assert document["photo"] in document["photos"]
    assert any("blank.jpg: left out" in warning for warning in answer["warnings"])
    project.ask("create", str(photos[0]), "--person", "../two", "--out", str(tmp_path), status=1)


def test_a_second_character_is_made_beside_the_first_from_what_both_share(project: Project, marble_run: dict) -> None:
    own = [stage.name for stage in STAGES if stage.by_character] + ["production_encoder"]
    assert marble_run["made"] == [f"{name}/marble" for name in own]
    assert set(marble_run["fresh"]) == {stage.name for stage in STAGES if not stage.by_character}


def test_a_bad_row_of_its_table_is_in_quarantine(project: Project, marble_run: dict) -> None:
    folder = project.root / "artifacts" / "rendered_pairs" / "marble"
    (reason,) = pd.read_parquet(folder / "quarantine.parquet")["reason"]
    assert reason == "JawWidth is 130: outside its range -100 to 100 %"


def test_its_character_has_a_marked_picture_and_parameters_in_the_engines_units(
    project: Project, marble_run: dict, tmp_path: Path
) -> None:
    photo = project.root / "data" / "photos" / "collins" / "astronaut.png"
    given = ("--character", "marble", "--model", "newest", "--size", "128")
    project.ask("create", str(photo), *given, "--out", str(tmp_path))
    folder = tmp_path / "astronaut"
    document = json.loads((folder / "character.json").read_text())
    assert (document["character"], document["render"]) == ("marble", {"by": "imitator"})
    assert 20 <= document["engine"]["values"]["Years"] <= 90 and document["engine"]["units"]["EyeSpacing"] == "mm"
    with Image.open(folder / "render.png") as render:
        corner = np.asarray(render.convert("RGB"))[-12:, -60:]
    assert (corner > 240).all(axis=2).any() and (corner < 90).all(axis=2).any(), "white letters on a dark strip"
    project.ask("render", str(folder / "character.json"), "--out", str(tmp_path / "again.png"), "--size", "128")
    assert (tmp_path / "again.png").read_bytes() == (folder / "render.png").read_bytes()


def test_variants_are_trained_and_scored_once_and_the_artifacts_stay(project: Project, first_run: dict) -> None:
    artifacts = [path for path in sorted((project.root / "artifacts").rglob("*")) if path.is_file()]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in artifacts}
    out, variants = project.root / "out", yaml.safe_load(VARIANTS.read_text())
    variants["scorecard"] |= {"people": 2, "judged": 2, "degraded": 1, "degraded_judged": 1, "pairs": 2}
    variants["variants"]["full"]["changes"]["scorecard"] = {"searched": 2}
    (project.root / "variants.yaml").write_text(yaml.safe_dump(variants, sort_keys=False))
    chosen = ("--variant", "no_loop", "--variant", "iccv2019", "--variants", str(project.root / "variants.yaml"))
    given = ("ablate", *chosen, "--out", str(out), "--json")
    document = json.loads(project(*given))
    full, no_loop, search = document["variants"]
    assert document["made"] == ["full/scorecard", "no_loop/encoder", "no_loop/scorecard"]
    assert full["scores"].keys() == no_loop["scores"].keys() > search["scores"].keys() == {"likeness.similarity"}
    assert full["scores"]["recovery.visible"]["value"] != no_loop["scores"]["recovery.visible"]["value"]
    with Image.open(out / "ablations.png") as sheet:
        assert sheet.size[0] == 3 * 128 + 2 * 4, "photo, full, no_loop"
    assert "| no_loop |" in (out / "ablations.md").read_text()
    again = json.loads(project.ask(*given))
    assert again["made"] == [] and again["variants"] == document["variants"]
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in artifacts} == before


@pytest.fixture(scope="module")
def second_run(project: Project, first_run: dict) -> dict:
    """Another encoder, with the first one in production; and the gate decides nothing by itself."""
    if "production" not in json.loads(project.ask("models", "1", "--json"))["aliases"]:
        project.ask("promote", "1", "--force", "--why", "the first of all")
    profile = yaml.safe_load((PROFILES / "smoke.yaml").read_text())
    profile["encoder"]["training"]["steps"] = 9
    profile["production_encoder"] = {"auto_promote": False}
    (project.root / "second.yaml").write_text(yaml.safe_dump(profile))
    other = ("--profile", str(project.root / "second.yaml"))
    assert "made with the profile smoke" in project.error("run", *other)
    return json.loads(project("run", *other, "--yes", "--json"))


def test_candidate_and_production_are_scored_on_the_same_people_in_one_run(
    project: Project, first_run: dict, second_run: dict
) -> None:
    assert second_run["made"] == ["encoder/embedded", "scorecard/embedded", "production_encoder/embedded"]
    card, first = second_run["scorecard"], first_run["scorecard"]
    production = card["production"]
    assert production["version"] == 1
    for section in ("recovery", "verification", "likeness", "imitator", "parsing", "identity"):
        again = {path: score["value"] for path, score in scores(production[section])}
        before = {path: score["value"] for path, score in scores(first[section])}
        assert again == pytest.approx(before, abs=1e-3), f"{section}: the same version on the same people"
    difference = production["differences"]["recovery.visible"]
    own = card["recovery"]["visible"]["value"] - production["recovery"]["visible"]["value"]
    assert difference["value"] == pytest.approx(own, abs=1e-5) and difference["ci"] is None, "of four people"
    assert production["differences"]["parsing.mean"] == {"value": 0.0, "ci": None, "n": 8}, "the same parser"
    page = (project.root / "artifacts" / "scorecard" / "embedded" / "scorecard.html").read_text()
    assert "Beside production" in page and "difference" in project.ask("scorecard")


def test_what_a_scorecard_was_compared_with_is_recorded_and_makes_nothing_stale(
    project: Project, second_run: dict
) -> None:
    first, second = (json.loads(project.ask("models", number, "--json")) for number in ("1", "2"))
    assert "newest" in second["aliases"] and "production" in first["aliases"], "auto_promote is off"
    settings = Settings(root=project.root)
    with open_instance(settings) as instance:
        scored = versions.latest(instance, "scorecard", "embedded")
    assert scored is not None and scored.metadata["inputs"]["production"] == first["tags"]["md5"]
    assert "production" not in scored.lineage
    project.ask("promote", "2", "--force", "--why", "to see what moves")
    assert json.loads(project.ask("run", "--profile", str(project.root / "second.yaml"), "--json"))["made"] == []


def test_a_version_is_judged_against_what_is_in_production_now(project: Project, second_run: dict) -> None:
    """Version 1 was never compared with version 2, which is in production."""
    profile = ("--profile", str(project.root / "second.yaml"))
    assert "likeness promote 1 --compare" in project.error("promote", "1", *profile)
    compared = project.run("promote", "1", "--compare", "--json", *profile)
    document = json.loads(compared.stdout)
    assert compared.returncode == (0 if document["promoted"] else 1)
    judged = document["record"]["against"] if document["promoted"] else document["scores"]
    assert judged and "never compared" not in compared.stderr
    if document["promoted"]:
        project.ask("promote", "2", "--force", "--why", "and back")
    assert "version 1 is in production again" in project.ask("rollback", "--why", "that was all")
    assert json.loads(project.ask("models", "2", "--json"))["rejected"]
