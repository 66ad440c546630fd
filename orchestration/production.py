"""The last asset: the encoder becomes a registered model, and production if it has earned it.

A registered model is self-contained: weights, landmark model, schema, and a copy of the package `models/` under a name
that nothing else has, so that two versions in one process each run their own code. Imitator and parser come along: they
refine an answer, and the imitator draws a character that no engine can. No pickle is written.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from engine.schema import SCHEMA_FILE
from orchestration import lineage, shown
from orchestration.catalog import Stage
from orchestration.registry import PRODUCTION, REJECTED, Registry
from orchestration.scorecards import complete
from orchestration.settings import REPOSITORY
from orchestration.tracking import Tracking
from orchestration.workshop import Workshop, ancestors, input_versions, run_tags, title

NAME, GATE = "production_encoder", "promotion_gate"
CODE = REPOSITORY / "models"
# What gives the parameters their names; these files import nothing of ours but each other.
SCHEMA_CODE = ("schema.py", "population.py")
NETWORKS = ("identity_model", "parsing_model", "imitator", "encoder")
CODE_SUFFIXES = (".py", ".json")
LOADER = Path(__file__).with_name("registered_encoder.py")
PIP_REQUIREMENTS = (
    "mlflow",
    "torch",
    "numpy",
    "safetensors",
    "opencv-python",
    "mediapipe",
    "pillow",
    "pandas",
    "pydantic",
    "pyyaml",
)


class Config(BaseModel, frozen=True, extra="forbid"):
    """The gate's rule. A score is named by its path in scorecard.json."""

    beats_baseline: tuple[str, ...] = ("recovery.visible", "likeness.similarity")
    """Scores that must be above those of the average face."""
    not_worse: dict[str, float] = {"likeness.similarity": 0.02}
    """Scores that may be lower than production's by at most this much."""
    stand_ins: dict[str, str] = {"likeness.similarity": "likeness.imitator_similarity"}
    """What is judged in the place of a score that a character cannot have. One without a stand-in is passed over."""


def code_files(code: Path = CODE) -> dict[str, Path]:
    """The files of a registered model's package, by their name in it."""
    files = {
        path.relative_to(code).as_posix(): path for path in sorted(code.rglob("*")) if path.suffix in CODE_SUFFIXES
    }
    return files | {name: REPOSITORY / "engine" / name for name in SCHEMA_CODE}


def _digest(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


class _Module:
    # New code is a new model, although no weight changed.
    VERSION = f"1-{_digest({**code_files(), 'loader.py': LOADER})}"
    Config = Config
    INPUTS = ("embedded", "character", "identity_model", "parsing_model", "imitator", "encoder", "scorecard")


INPUTS = _Module.INPUTS
STAGE = Stage(NAME, "production", ("mlflow", "torch", "dvc"), "", by_character=True, module=_Module)


def pack(inputs: Mapping[str, Path], out: Path, code: Path = CODE) -> dict[str, float]:
    """Write out/model (what the predictor reads), out/code/<unique package> and out/loader.py."""
    model = out / "model"
    model.mkdir()
    shutil.copyfile(inputs["embedded"] / "landmarks" / "face_landmarker.task", model / "face_landmarker.task")
    shutil.copyfile(inputs["character"] / SCHEMA_FILE, model / SCHEMA_FILE)
    for part in NETWORKS:
        (model / part).mkdir()
        for name in ("model.safetensors", "meta.json"):
            shutil.copyfile(inputs[part] / name, model / part / name)
    files = code_files(code)
    package = f"likeness_{_digest(files)}"
    for name, path in files.items():
        target = out / "code" / package / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (model / "about.json").write_text(json.dumps({"package": package}) + "\n")
    shutil.copyfile(LOADER, out / "loader.py")
    return {"megabytes": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6}


def register(
    context: dg.AssetExecutionContext, config: BaseModel, workshop: Workshop, tracking: Tracking
) -> dg.MaterializeResult:
    """Pack, track, register what is new, set `candidate`, and move `production` where the gate lets it."""
    assert isinstance(config, Config)
    character = context.partition_key
    versions = input_versions(context.instance, STAGE, character, workshop)
    folders = {name: workshop.fetch(name, version) for name, version in versions.items()}
    with workshop.store.writing(NAME, character) as draft:
        metrics = pack(folders, draft.folder)
    folder, md5 = draft.folder, draft.md5
    registry = Registry(tracking, character)
    stage_scores = json.loads((folders["scorecard"] / "scorecard.json").read_text())
    scorecard = complete(stage_scores, versions["scorecard"].metadata)
    lineage_md5 = ancestors(versions)
    number = _registered(context, registry, folder, md5, lineage_md5, scorecard)
    registry.set_candidate(number)
    refusals = judge(config, scorecard, _production_scorecard(registry, number))
    if REJECTED in registry.find(number).tags:
        refusals.append("it was rolled back before: `likeness promote` it by hand if you are sure")
    if not refusals:
        registry.promote(number)
    metadata: dict[str, Any] = {
        **shown.of_model(folders["scorecard"], tracking.model_url(registry.name, number)),
        "model": registry.name,
        "version": int(number),
        "in_production": not refusals,
        "refused_because": refusals,
        "judged_otherwise": replaced(config, scorecard),
        "md5": md5,
        "inputs": {name: version.md5 for name, version in versions.items()},
        "lineage": lineage_md5,
        "git_commit": lineage.git_commit(),
        **metrics,
    }
    gate = dg.AssetCheckResult(
        check_name=GATE,
        asset_key=NAME,
        passed=not refusals,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(refusals) or f"version {number} is in production",
    )
    return dg.MaterializeResult(data_version=dg.DataVersion(md5), metadata=metadata, check_results=[gate])


def _registered(
    context: dg.AssetExecutionContext,
    registry: Registry,
    folder: Path,
    md5: str,
    inputs: Mapping[str, str],
    scorecard: Mapping[str, Any],
) -> str:
    """The version that has this content: an older one where it was registered before, else a new one."""
    if known := registry.with_md5(md5):
        registry.client.log_dict(str(known.run_id), dict(scorecard), "scorecard.json")
        return str(known.version)
    tracking = registry.tracking
    with tracking.run(title(NAME, registry.character), run_tags(context, NAME, registry.character)) as run:
        run.inputs(inputs)
        run.document(scorecard, "scorecard.json")
        number = log_model(tracking, run.run_id, folder, registry.name)
        tags = {
            "md5": md5,
            "dagster.run_id": context.run_id,
            "git.commit": lineage.git_commit(),
            "character": registry.character,
        }
        for name, value in (tags | {f"input.{asset}": value for asset, value in inputs.items()}).items():
            registry.client.set_model_version_tag(registry.name, number, name, value)
    return number


def log_model(tracking: Tracking, run_id: str, folder: Path, name: str) -> str:
    """Log a packed folder as a pyfunc model of this run and register it; the new version's number."""
    import mlflow
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    mlflow.set_tracking_uri(tracking.uri)
    mlflow.set_registry_uri(tracking.uri)
    (package,) = (folder / "code").iterdir()
    with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
        # The signature is given, so no example is needed to infer it from.
        warnings.filterwarnings("ignore", message=".*input example.*")
        info = mlflow.pyfunc.log_model(
            name="encoder",
            python_model=str(folder / "loader.py"),
            code_paths=[str(package)],
            artifacts={"model": str(folder / "model")},
            pip_requirements=[f"{library}=={importlib.metadata.version(library)}" for library in PIP_REQUIREMENTS],
            signature=ModelSignature(inputs=Schema([ColSpec(DataType.binary, "photo")])),
            registered_model_name=name,
        )
    return str(info.registered_model_version)


def judge(config: Config, candidate: Mapping[str, Any], production: Mapping[str, Any] | None) -> list[str]:
    """Why the candidate may not become production; empty when it may.

    A score that this character cannot have (null, with a reason) is judged by its stand-in, or passed over; a candidate
    of which nothing can be judged may not.
    """
    beats = {path: judged_by(config, candidate, path) for path in config.beats_baseline}
    refusals = []
    if not any(beats.values()):
        refusals.append("the scorecard has no score that can be judged: name one in the gate's `beats_baseline`")
    for path in filter(None, beats.values()):
        score = find_score(candidate, path)
        if score is None:
            refusals.append(f"{path} is missing from the scorecard")
        elif not (score["value"] or 0.0) > (score.get("baseline") or 0.0):
            refusals.append(f"{path} {score['value']} does not beat the average face's {score.get('baseline')}")
    for wanted, margin in config.not_worse.items():
        path = judged_by(config, candidate, wanted)
        new, old = (find_score(card or {}, path) if path else None for card in (candidate, production))
        if old is None or old["value"] is None:
            continue
        if new is None or new["value"] is None or new["value"] < old["value"] - margin:
            refusals.append(
                f"{path} {new and new['value']} is worse than production's {old['value']} by more than {margin}"
            )
    return refusals


def judged_by(config: Config, scorecard: Mapping[str, Any], path: str) -> str | None:
    """The score that stands for `path`: itself, its stand-in, or none where the character cannot have either."""
    score = find_score(scorecard, path)
    if score is None or score["value"] is not None or "reason" not in score:
        return path
    stand_in = config.stand_ins.get(path)
    found = find_score(scorecard, stand_in) if stand_in else None
    return stand_in if found and found["value"] is not None else None


def replaced(config: Config, scorecard: Mapping[str, Any]) -> dict[str, str]:
    """The gate's scores that this character cannot have: what was judged instead, and why."""
    found = {}
    for path in dict.fromkeys([*config.beats_baseline, *config.not_worse]):
        stand_in, score = judged_by(config, scorecard, path), find_score(scorecard, path)
        if stand_in != path and score:
            found[path] = f"judged by {stand_in}: {score['reason']}" if stand_in else f"not judged: {score['reason']}"
    return found


def find_score(scorecard: Mapping[str, Any], path: str) -> dict[str, Any] | None:
    """The {"value", …} at a dotted path, None where there is none."""
    found: Any = scorecard
    for key in path.split("."):
        if not isinstance(found, dict) or key not in found:
            return None
        found = found[key]
    return found if isinstance(found, dict) and "value" in found else None


def _production_scorecard(registry: Registry, number: str) -> dict[str, Any] | None:
    """The figures that production was promoted with, None for the first or when it is this version itself."""
    current = registry.aliases().get(PRODUCTION)
    return registry.scorecard(current) if current and current != number else None
