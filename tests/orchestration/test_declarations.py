"""What the graph knows of stages that are not imported: what they say themselves, and never what they said before."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestration.config import declarations
from orchestration.config.catalog import STAGES
from orchestration.config.declarations import CodeChanged, Declaration, declare
from orchestration.config.profiles import changes_of, code_version, configure
from orchestration.config.settings import REPOSITORY, Settings
from tests.orchestration.conftest import stage

NAMES = [one.name for one in STAGES]
STAGE = """
from pydantic import BaseModel

from models.toy import WIDTH

VERSION, INPUTS = "1", ("photos",)


class Config(BaseModel, frozen=True, extra="forbid"):
    width: int = WIDTH
    height: int = 1
"""
ASK = """
import json, sys
from pathlib import Path
from orchestration.config import declarations
from orchestration.config.catalog import STAGES
from orchestration.config.settings import Settings
from orchestration.config.profiles import ProfileError

declarations.GRAIN = 0.0
{meanwhile}
try:
    said = declarations.declare(Settings(root=Path({root!r}), profile={profile!r}), STAGES)
except ProfileError as error:
    sys.exit(str(error))
imported = any(name.startswith("stages.") for name in sys.modules)
print(json.dumps([imported, {{name: [one.inputs, one.code_version] for name, one in said.items()}}]))
"""


class Checkout:
    """A copy of the code whose stages are toys, and processes that ask it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("orchestration/config", "orchestration/profiles", "engine", "models"):
            shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / "orchestration" / "__init__.py", root / "orchestration")
        (root / "stages").mkdir()
        for name in ("__init__", *NAMES):
            (root / "stages" / f"{name}.py").write_text("" if name == "__init__" else STAGE)
        (root / "models" / "toy.py").write_text("WIDTH = 1\n")
        self.profile = root / "own.yaml"
        self.profile.write_text("imitator: {height: 2}\n")

    def ask(self, meanwhile: str = "", status: int = 0) -> Any:
        """Whether stages were imported, and what was declared; or the error."""
        code = ASK.format(meanwhile=meanwhile, root=str(self.root), profile=str(self.profile))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LIKENESS_")}
        # Python's own bytecode is taken for that of a file which has its size and its time.
        environment |= {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.root, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done.stderr if status else json.loads(done.stdout)

    def replace(self, name: str, text: str, other: str) -> None:
        """Edit a file as an editor does, but for the time of its last change, which stays."""
        path = self.root / name
        before, content = path.stat(), path.read_text()
        assert text in content
        path.write_text(content.replace(text, other))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.slow
def test_what_was_read_once_is_known_without_importing_a_stage_until_the_code_or_the_profile_changes(
    checkout: Checkout,
) -> None:
    imported, before = checkout.ask()
    assert imported and before["imitator"][0] == ["photos"]
    assert checkout.ask() == [False, before]
    for name, text, other, changed in (
        ("stages/encoder.py", '"1"', '"2"', ["encoder"]),
        ("stages/encoder.py", '"photos"', '"embedded"', ["encoder"]),
        ("models/toy.py", "1", "3", NAMES),
        ("own.yaml", "2", "7", ["imitator"]),
        ("orchestration/config/profiles.py", "hexdigest()[:12]", "hexdigest()[:13]", NAMES),
    ):
        checkout.replace(name, text, other)
        imported, now = checkout.ask()
        assert imported, name
        assert [one for one in now if now[one] != before[one]] == changed, name
        assert checkout.ask() == [False, now]
        before = now
    checkout.replace("own.yaml", "height", "hight")
    assert "hight: Extra inputs are not permitted" in checkout.ask(status=1)
    assert "hight: Extra inputs are not permitted" in checkout.ask(status=1)


@pytest.mark.slow
def test_what_was_read_of_code_that_changed_meanwhile_is_not_kept(checkout: Checkout) -> None:
    checkout.ask("import models.toy; Path('models/toy.py').write_text('WIDTH = 5')")
    imported, now = checkout.ask()
    assert imported
    assert checkout.ask("import stages.encoder") == [True, now]
    (checkout.root / ".likeness" / "computed" / "stages.json").write_text("{")
    assert checkout.ask() == [True, now] and checkout.ask() == [False, now]


@pytest.mark.parametrize("profile", ["smoke", "quickstart", "paper"])
def test_real_stages_are_declared_as_they_are(profile: str, tmp_path: Path) -> None:
    changes = changes_of(profile, STAGES)
    said = declare(Settings(root=tmp_path, profile=profile), STAGES)
    for one in STAGES:
        config = configure(profile, one, changes[one.name])
        assert said[one.name].inputs == tuple(one.code.INPUTS)
        assert said[one.name].code_version == code_version(one, config) and said[one.name].config() == config


def test_other_weights_under_the_same_name_make_their_stage_anew(tmp_path: Path) -> None:
    file, own = tmp_path / "weights.bin", tmp_path / "own.yaml"
    own.write_text(f"identity_model: {{backbone: sface, weights: {file}}}\nparsing_model: {{pretrained: {file}}}")

    def versions() -> tuple[str, dict[str, str]]:
        said = declare(Settings(root=tmp_path, profile=str(own)), STAGES)
        key = declarations._digest({name: dict(one.changes) for name, one in said.items()})
        return key, {name: one.code_version for name, one in said.items()}

    key, none = versions()
    file.write_bytes(b"first")
    first_key, first = versions()
    file.write_bytes(b"other")
    other_key, other = versions()
    for now, before in ((first, none), (other, first)):
        assert {name for name in now if now[name] != before[name]} == {"identity_model", "parsing_model"}
    assert len({key, first_key, other_key}) == 3, "nor are kept declarations taken for those of other weights"


def test_a_stage_that_is_not_the_declared_one_does_not_run() -> None:
    made = stage("faces", ())
    declared = Declaration(made, (), code_version(made, made.code.Config()), "smoke", {})
    assert declared.config() == made.code.Config()
    made.module.VERSION = "2"
    with pytest.raises(CodeChanged, match=r"stage faces, or a file .* was changed meanwhile: give the command"):
        declared.config()


def test_the_files_that_count_are_those_that_stages_are_made_of() -> None:
    names = [name for name, _ in declarations._files()]
    assert {"stages/encoder.py", "models/reference.json", "engine/schema.py", "orchestration/config/catalog.py"} <= {
        *names
    }
