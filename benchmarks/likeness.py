"""How a model reads real people: what anybody sees in them, and whether two recognisers find them from the render.

    python -m benchmarks.likeness [--quick] [--json] [--project DIR] [--model VERSION|DIR] [--photos DIR] [--out DIR]

(make bench-likeness). Needs a project with a model in production (`likeness run`), or a model by its version, an alias,
or its folder: as MLflow saved it, or as `artifacts/production_encoder/<character>` holds it. 145 photos of real people
come once from an npm package (benchmarks/real_people/README.md: labels, rules, who is not among them). Each is read by
the model's own code, as `likeness create` does it, and drawn by today's engine as the game shows it.

Where the model can refine its answers (`likeness create --refine`), they are also measured refined by gradient and by
engine.

Writes DIR/likeness.json and, with faces of real people and therefore never to be published, DIR/likeness.jpg: photo and
render side by side, with what was missed. The document:

    machine      processor, cores, load before the start, versions
    model        which one: name and version, or folder
    people       photos, how many were read, why the others were not; who is not among them
    appearance   scores by the labels (stages/evaluation/appearance.py): value, 95 % interval over people, bound (how
                 far two labellings agree), baseline (one answer for all), average_face, landmark_fit (landmark_fit.py)
    likeness     by judge: is the photo found from the render among all photos? rank1, rank5, auc; similarity of the two
    refined      by way of refining and judge: the same scores; `cost`: seconds a photo
    expression   how photos and renders hold their brows: medians over everybody, and over those who do not smile
    judges       how far the two judges agree: Spearman's correlation of similarities, share of the same verdict
    groups       by sex and by skin tone, as the first labelling has it: every score, the worst group first
    targets      what the project set itself, and whether it is reached
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import expression, judges, people
from models.precision import read_in
from orchestration.cli.terminal import exit_with_error, libraries_into_log, stderr_console
from orchestration.config.settings import REPOSITORY, Settings
from stages.data.appearance_labels import ANNOTATOR
from stages.data.rendering import AlignedEngine
from stages.evaluation import appearance, groups, metrics
from stages.evaluation.appearance import QUESTIONS, Said
from stages.evaluation.production import written
from stages.evaluation.report import Report

SIZE, BATCH = 256, 8
QUICK_EVERY = 7
"""`--quick` takes every seventh photo: an odd number, since women and men alternate in the order of names."""
GROUPED_BY = ("sex", "skin_tone")
OTHERS = ("average_face", "landmark_fit")
TARGETS = {
    "appearance.sex": 0.97, "appearance.age_within_one": 0.95, "appearance.skin_within_one": 0.95,
    "appearance.skin_error": 0.45, "appearance.hair_style": 0.65, "appearance.hair_length": 0.88,
    "appearance.hair_short_or_long": 0.95, "appearance.hair_colour": 0.65, "appearance.beard": 0.92,
    "appearance.beard_found": 0.85, "appearance.glasses": 0.95, "likeness.dlib.rank1": 0.55,
}  # fmt: skip
SHOWN = {
    "sex": "sex", "age_within_one": "age", "skin_within_one": "skin", "hair_style": "hair", "hair_colour": "colour",
    "beard": "beard", "glasses": "glasses",
}  # fmt: skip
"""What the sheet says of a render that lacks it."""
LOWER_IS_BETTER = frozenset(question.name for question in QUESTIONS if question.lower_is_better)


class BenchError(Exception):
    """Nothing can be measured; the message says what to do."""


@dataclass(frozen=True)
class Model:
    """What is measured: `predictor` and `schema` are of the version's own code."""

    said: dict[str, Any]
    predictor: Any
    schema: Any
    own: Any = None
    """The registered model as MLflow loads it, where it can refine."""

    @classmethod
    def load(cls, settings: Settings, wanted: str) -> "Model":
        """A version, an alias or a folder. Raises BenchError."""
        from stages.evaluation import schema_mapping

        folder = Path(wanted)
        if (folder / "MLmodel").is_file():
            import mlflow.pyfunc

            own: Any = mlflow.pyfunc.load_model(str(folder)).unwrap_python_model()
            return cls._of({"folder": wanted}, own)
        if folder.is_dir():
            try:
                return cls({"folder": wanted}, *schema_mapping.predictor(folder))
            except (schema_mapping.CannotDo, OSError) as error:
                raise BenchError(f"{folder} holds no registered model: {error}") from error
        return cls._registered(settings, wanted)

    @classmethod
    def _registered(cls, settings: Settings, wanted: str) -> "Model":
        from orchestration.registry.registered_models import Registry, RegistryError
        from orchestration.storage.tracking import Tracking

        try:
            own, version = Registry(Tracking.of(settings), settings.character).load(wanted)
        except RegistryError as error:
            raise BenchError(f"{settings.root}: {error}") from error
        return cls._of({"name": version.name, "version": int(version.version)}, own)

    @classmethod
    def _of(cls, said: dict[str, Any], own: Any) -> "Model":
        return cls(said, own.predictor, own.schema, own if hasattr(type(own), "refinement") else None)


@dataclass(frozen=True)
class Reading:
    """The photos that could be read [N]."""

    names: list[str]
    photos: list[bytes]
    aligned: NDArray[np.uint8]  # [N, SIZE, SIZE, 3]
    x: NDArray[np.float32]  # [N, width] of today's schema
    refused: dict[str, str]


def read(model: Model, files: Sequence[Path], schema: Any) -> Reading:
    """Every photo by the model's own predictor, one after the other."""
    import torch

    from models.images import resize
    from stages.evaluation.schema_mapping import SchemaMapping

    carried = SchemaMapping.between(model.schema, schema)
    found, refused = [], {}
    with model.predictor as predictor:
        for file in track(files, "reading photos", console=stderr_console()):
            photo = file.read_bytes()
            try:
                found.append((file.name, photo, predictor.predict(photo)))
            except ValueError as error:  # no picture, or no face in it
                refused[file.name] = str(error)
    if not found:
        raise BenchError("no photo could be read")
    names, photos, predictions = map(list, zip(*found, strict=True))
    x = np.stack([each.x for each in predictions]).astype(np.float32)
    x = x if carried is None else carried(torch.from_numpy(x)).numpy()
    return Reading(names, photos, np.stack([resize(each.aligned, SIZE) for each in predictions]), x, refused)


def drawn(engine: AlignedEngine, x: NDArray[np.float32], what: str) -> NDArray[np.uint8]:
    """Pictures [N, SIZE, SIZE, 3] of parameter vectors as the game shows them."""
    parts = track(range(0, len(x), BATCH), f"drawing {what}", console=stderr_console())
    return np.concatenate([engine.draw(*engine.schema.choose(x[k : k + BATCH]), SIZE).image for k in parts])


def described(describe: Callable[[NDArray], NDArray], pictures: NDArray[np.uint8], what: str) -> NDArray[np.float64]:
    """Descriptors [N, D]."""
    return np.stack([describe(picture) for picture in track(pictures, what, console=stderr_console())])


def measured(settings: Settings, wanted: str, photos: Path, every: int) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """The document, and the contact sheet. Raises BenchError."""
    from benchmarks.landmark_fit import LandmarkFit
    from benchmarks.measure import machine
    from engine.character import Character
    from engine.engines import EmbeddedEngine

    document: dict[str, Any] = {"machine": machine()}
    labels, embedded = people.labels(), settings.data / "embedded"
    if not (embedded / appearance.ATTRIBUTES).is_dir():
        raise BenchError(
            f"{embedded} is missing or older than this code: LIKENESS_ROOT={settings.root} likeness inputs"
        )
    try:
        files = people.photos(sorted(labels["id"].unique())[::every], photos, stderr_console().print)
    except people.NoPeople as error:
        raise BenchError(str(error)) from error
    model = Model.load(settings, wanted)
    engine = AlignedEngine.open(Character.load(settings.root / "characters" / settings.character), embedded, "cpu")
    if engine is None:
        raise BenchError(f"{settings.character} has only exported pairs: there is no engine to draw renders with")
    read_in(model.predictor, settings.precision)
    reading = read(model, files, engine.schema)
    better, told = refined(model, reading, engine)
    answers = {"model": reading.x, "average_face": np.repeat(engine.schema.neutral()[None], len(reading.x), axis=0)}
    if isinstance(engine.engine, EmbeddedEngine):
        fit = LandmarkFit(engine.engine, embedded / "landmarks" / "face_landmarker.task")
        answers["landmark_fit"] = fit.fit(reading.photos)
    renders = {
        name: drawn(engine, x[:1] if name == "average_face" else x, name.replace("_", " "))
        for name, x in (answers | better).items()
    }

    report = Report(Path())
    _, said = appearance.labelled_rows(pd.DataFrame({"id": reading.names}), labels)
    document["model"] = model.said | {"precision": getattr(model.predictor, "precision", "float32")}
    shown = {name: pictures for name, pictures in renders.items() if name not in better}
    answers_of_networks = networks(embedded, reading, shown)
    document["people"] = {
        "photos": len(files), "read": len(reading.names), "refused": reading.refused, "note": appearance.note(said),
    }  # fmt: skip
    document["appearance"] = appearances(engine.schema, answers, said, reading.names, report) | answers_of_networks
    found = {name: judged(describe, reading, renders, name) for name, describe in judges.judges(embedded).items()}
    names = np.array(reading.names)
    document["likeness"] = {
        judge: likenesses({name: each for name, each in similarity.items() if name not in better}, names)
        for judge, similarity in found.items()
    }
    document["refined"] = {
        name: {judge: likenesses({"model": similarity[name]}, names) for judge, similarity in found.items()}
        | {"cost": told[name]}
        for name in better
    }
    for judge, similarity in found.items():
        place = metrics.places(similarity["model"], np.eye(len(names), dtype=bool))
        report.by_mean(f"{judge}_rank1", place <= 1, names, photos=True)
    document["expression"] = expressions(embedded, reading, renders["model"])
    document["judges"] = judges.agreement({judge: similarity["model"] for judge, similarity in found.items()})
    document["groups"] = grouped(labels, names, report)
    document["targets"] = targets(document)
    return document, sheet(reading, renders["model"], engine.schema, said)


def appearances(
    schema: Any, answers: Mapping[str, NDArray], said: Said, names: Sequence[str], report: Report
) -> dict[str, Any]:
    """Every score of the model, with those of the other answers beside it."""
    who = np.array(names)
    scored = {
        name: appearance.score_all(
            appearance.answers_of(schema, x), said, who, report if name == "model" else None
        )
        for name, x in answers.items()
    }  # fmt: skip
    return _beside(scored)


def networks(embedded: Path, reading: Reading, renders: Mapping[str, NDArray[np.uint8]]) -> dict[str, Any]:
    """What networks of sex and age see in the photos and in the renders of each answer."""
    reader = appearance.SexAndAge(embedded)
    photos, average = reader.of(reading.aligned), reader.of(renders["average_face"])
    people_ = np.array(reading.names)
    return _beside(
        {
            name: appearance.score_by_networks(photos, reader.of(pictures), average, people_)
            for name, pictures in renders.items()
        }
    )


def expressions(embedded: Path, reading: Reading, renders: NDArray[np.uint8]) -> dict[str, Any]:
    """How photos and renders hold their brows."""
    from models.images import decode_photo

    with expression.Expressions(embedded / "landmarks" / "face_landmarker.task") as looks:
        photos = [
            looks.measure(decode_photo(photo))
            for photo in track(reading.photos, "brows of photos", console=stderr_console())
        ]
        return expression.compared(
            photos, [looks.measure(render) for render in track(renders, "brows of renders", console=stderr_console())]
        )


def refined(
    model: Model, reading: Reading, engine: AlignedEngine
) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, float]]]:
    """The answers [N, width] refined by each way, and what it took: seconds a photo. None where the model cannot, or
    has other parameters than the engine.
    """
    from models.refinement import RENDER_SIZE

    if model.own is None or model.schema.width != engine.schema.width:
        return {}, {}

    def draw(x: NDArray[np.float32]) -> NDArray[np.uint8]:
        return engine.draw(*engine.schema.choose(x[None]), RENDER_SIZE).image[0]

    answers, told = {}, {}
    for name, more in (("gradient", {}), ("engine", {"draw": draw})):
        rows = list(zip(reading.aligned, reading.x, strict=True))
        model.own.refine(*rows[0], **more)  # whatever is set up by a first call counts for nobody
        begun = time.perf_counter()
        found = [model.own.refine(*row, **more) for row in track(rows, f"by {name}", console=stderr_console())]
        answers[name] = np.stack(found).astype(np.float32)
        told[name] = {"seconds": (time.perf_counter() - begun) / len(rows)}
    return answers, told


def judged(
    describe: judges.Describe, reading: Reading, renders: Mapping[str, NDArray], judge: str
) -> dict[str, NDArray[np.float64]]:
    """Similarities [N, N] of each answer's renders (rows) with the photos (columns); one render stands for all."""
    photos, found = described(describe, reading.aligned, f"{judge}: photos"), {}
    for name, pictures in renders.items():
        own = described(describe, pictures, f"{judge}: {name.replace('_', ' ')}")
        found[name] = judges.similarities(photos, np.broadcast_to(own, photos.shape))
    return found


def likenesses(similarity: Mapping[str, NDArray], names: NDArray) -> dict[str, Any]:
    """A judge's scores of the model, with those of the other answers beside it."""
    return _beside({name: judges.retrieval(each, names.tolist()) for name, each in similarity.items()})


def _beside(scored: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: written(entry) | {other: scored[other][name]["value"] for other in OTHERS if other in scored}
        for name, entry in scored["model"].items()
    }


def grouped(labels: pd.DataFrame, names: NDArray, report: Report) -> dict[str, Any]:
    """{dimension: {score: [groups, the worst first]}}; groups by what the first labelling says."""
    first = labels.sort_values(ANNOTATOR).drop_duplicates("id").set_index("id").loc[names]
    found = {}
    for dimension in GROUPED_BY:
        by_group = groups.by_labels(names, {dimension: first[dimension].to_numpy(str)}, report.photo_statistics)
        found[dimension] = {
            statistic.name.removeprefix("appearance_"): _worst_first(statistic.name, by_group[dimension])
            for statistic in report.photo_statistics
        }
    return found


def _worst_first(score: str, by_group: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = [{"group": group, **entry[score]} for group, entry in by_group.items() if entry[score]["value"] is not None]
    sign = -1 if score.removeprefix("appearance_") in LOWER_IS_BETTER else 1
    return sorted(rows, key=lambda row: sign * row["value"])


def targets(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the project set itself; None: not measured."""
    rows = []
    for path, wanted in TARGETS.items():
        section, *middle, name = path.split(".")
        found = document[section][middle[0]][name] if middle else document[section][name]
        value, less = found["value"], name in LOWER_IS_BETTER
        reached = None if value is None else value <= wanted if less else value >= wanted
        rows.append({"target": f"{path} {'≤' if less else '≥'} {wanted}", "value": value, "reached": reached})
    return rows


def sheet(reading: Reading, renders: NDArray[np.uint8], schema: Any, said: Said) -> NDArray[np.uint8]:
    """Photo and render of everybody in turn [H, W, 3]; on the render what was missed of what people see."""
    from models.images import grid
    from stages.data.pictures import marked

    answers = appearance.answers_of(schema, reading.x)
    tiles = []
    for row, (photo, render) in enumerate(zip(reading.aligned, renders, strict=True)):
        missed = [
            SHOWN[question.name]
            for question in QUESTIONS
            if question.name in SHOWN and not isinstance(given := answers[question.column], str)
            if question.points(given[row], said[question.column][row]) == 0
        ]
        tiles += [
            marked(photo, reading.names[row].removesuffix(".jpg")),
            marked(render, f"missed: {', '.join(missed)}" if missed else ""),
        ]
    return grid(tiles, columns=12)


def show(document: Mapping[str, Any], console: Console) -> None:
    """The document as tables."""
    model, who = document["model"], document["people"]
    named = model.get("folder") or f"{model['name']} version {model['version']}"
    console.print(f"{named} on {who['read']} of {who['photos']} photos of real people. {who['note']}")
    for name, reason in who["refused"].items():
        console.print(f"[yellow]not read[/] {name}: {reason}")
    console.print(_scores("What people see in them", document["appearance"]))
    for judge, scores in document["likeness"].items():
        console.print(_scores(f"{judge} looks for the photo from the render", scores))
    for way, by_judge in document["refined"].items():
        seconds = by_judge["cost"]["seconds"]
        for judge in document["likeness"]:
            title = f"{judge} looks for the photo from the render, refined by {way} ({seconds:.2f} s a photo)"
            console.print(_scores(title, by_judge[judge]))
    for whose, medians in document["expression"].items():
        told = (f"{name} {medians[name]['photos']:.3f}, {medians[name]['renders']:.3f}" for name in expression.COMPARED)
        console.print(f"Brows of {whose} ({medians['n']}), medians of photos and renders: {'; '.join(told)}")
    agree = document["judges"]
    console.print(
        agree.get("reason")
        or "The judges agree: Spearman's correlation {all_pairs:.2f} over all pairs, {own_pairs:.2f} over the people's "
        "own; the same verdict at rank 1 on {rank1_agrees:.0%} of the people".format(**agree)
    )
    for dimension, scores in document["groups"].items():
        console.print(_groups(f"By {dimension.replace('_', ' ')}, the worst group first (people)", scores))
    for target in document["targets"]:
        value = "not measured" if target["value"] is None else f"{target['value']:.3g}"
        verdict = {True: "[green]reached[/]", False: "[red]missed[/]", None: ""}[target["reached"]]
        console.print(f"{target['target']}: {value} {verdict}")


def _scores(title: str, scores: Mapping[str, Any]) -> Table:
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("score")
    columns = ("value", "95 %", "bound", "one answer for all", "average face", "landmark fit", "n")
    for name in columns:
        shown.add_column(name, justify="right")
    for name, entry in scores.items():
        ends = "–" if not entry["ci"] else f"{entry['ci'][0]:.2f} – {entry['ci'][1]:.2f}"
        figures = [entry["bound"], entry["baseline"], *(entry.get(other) for other in OTHERS)]
        value = _figure(entry["value"]) if entry["value"] is not None else entry.get("reason", "–").split(":")[0]
        shown.add_row(name.replace("_", " "), value, ends, *map(_figure, figures), str(entry["n"]))
    return shown


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _groups(title: str, scores: Mapping[str, Any]) -> Table:
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    for name, rows in scores.items():
        cells = [f"{row['group']} [bold]{row['value']:.2f}[/] ({row['n']})" for row in rows]
        shown.add_row(name.replace("_", " "), *cells)
    return shown


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Every seventh photo.")] = False,
    project: Annotated[
        Path | None, typer.Option("--project", help="A trained project.", show_default="LIKENESS_ROOT, or this one")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="A version, an alias, or the folder of a registered model.")
    ] = "production",
    photos: Annotated[
        Path | None, typer.Option("--photos", help="Where the photos are, or come.", show_default="OUT/people")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the document and nothing else on stdout.")] = False,
    out: Annotated[
        Path, typer.Option("--out", help="Where likeness.json and likeness.jpg go: a folder outside of git.")
    ] = REPOSITORY / "out" / "bench",
) -> None:
    """Measure how a model reads 145 real people, by labels and by two recognisers.

    Compare models with --model: `--model 3`, `--model previous`, `--model artifacts/production_encoder/embedded`. The
    head of the file says what is written; benchmarks/real_people/README.md by which rules it is scored.
    """
    from models.images import encode_jpeg

    settings = Settings(root=project.resolve()) if project else Settings()
    try:
        with libraries_into_log(settings):
            document, pairs = measured(settings, model, photos or out / "people", QUICK_EVERY if quick else 1)
    except BenchError as error:
        exit_with_error(str(error))
    out.mkdir(parents=True, exist_ok=True)
    (out / "likeness.json").write_text(json.dumps(document, indent=2) + "\n")
    (out / "likeness.jpg").write_bytes(encode_jpeg(pairs, 88))
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        show(document, Console(width=130) if Console().width < 130 else Console())
        stderr_console().print(f"written: {out}/likeness.json, {out}/likeness.jpg (real people: not to be published)")


if __name__ == "__main__":
    typer.run(main)
