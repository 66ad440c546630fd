"""Score an encoder on people who never trained: recovery, verification, likeness, imitator, parsing, identity, speed.

Every score stands beside the same score of the average face (`baseline`), the best that could be reached (`bound`),
a 95 % interval from resampling people (`ci`) and the number of samples (`n`). `scorecard.json` holds what the same
inputs always give; the speed is only in the returned metrics. A score that a character cannot have is null and says
why (`reason`); one for which the imitator drew in the engine's place says so (`by`).
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.schema import Schema
from models.identity import IdentityModel
from models.images import decode, decode_labels, grid, resize
from models.parsing import CLASSES, STRIDE
from stages import metrics, tables
from stages import parsing_model as parsing_stage
from stages.bench import FACE_SIZE, Bench, Config, as_bytes, embed
from stages.context import Context
from stages.judge import Judge
from stages.metrics import Score, nothing, score
from stages.pictures import write_picture

VERSION = "2"
INPUTS = (
    "embedded", "photos", "character", "aligned_faces", "identity_model", "parsing_model", "rendered_pairs",
    "imitator", "encoder",
)  # fmt: skip
PHENOTYPES = ("sex", "age", "african", "asian", "european")
FITTED = 16  # label maps that the parser's bound is measured on


def run(inputs: Mapping[str, Path], config: Config, out: Path, context: Context) -> dict[str, float]:
    """Write `scorecard.json` and pictures. Returns the main figures and the speed."""
    torch.set_grad_enabled(False)
    try:
        bench = Bench.load(inputs, config, context)
        card: dict[str, Any] = {}
        sections = (recovery, verification, likeness, imitator, parsing, identity)
        for number, section in enumerate(sections):
            context.progress(f"scorecard: {section.__name__}", number, len(sections) + 1)
            card[section.__name__] = section(bench, out)
        speed = throughput(bench)
    finally:
        torch.set_grad_enabled(True)
    context.progress("scorecard", len(sections) + 1, len(sections) + 1)
    (out / "scorecard.json").write_text(json.dumps(card, indent=1) + "\n")
    return flat(card) | {"throughput.photos_per_second": speed}


def flat(card: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The values of all scores under dotted names."""
    found: dict[str, float] = {}
    for name, entry in card.items():
        if isinstance(entry, Mapping) and {"value", "baseline", "n"} <= set(entry):
            if entry["value"] is not None:
                found[prefix + name] = float(entry["value"])
        elif isinstance(entry, Mapping):
            found |= flat(entry, f"{prefix}{name}.")
    return found


def visible_sliders(bench: Bench, size: int = 128) -> dict[str, float]:
    """How much each slider, from 0 to 1, changes the frontal picture of the average face.

    Mean absolute difference over the head's pixels (over all, where nobody says which those are) as a share of full
    scale, of the sliders that reach the configured threshold.
    """
    schema = bench.schema
    sliders = np.repeat(schema.neutral_sliders()[None], 2 * schema.n_sliders, axis=0)
    for number in range(schema.n_sliders):
        sliders[2 * number, number], sliders[2 * number + 1, number] = 0.0, 1.0
    choices = np.repeat(schema.neutral_discrete()[None], len(sliders), axis=0)
    image, labels = bench.drawn(sliders, choices, size)
    low, high = image[0::2].astype(np.float32), image[1::2].astype(np.float32)
    head = np.ones(low.shape[:3], bool) if labels is None else (labels[0::2] > 0) | (labels[1::2] > 0)
    change = (np.abs(high - low).mean(axis=3) * head).sum(axis=(1, 2)) / head.sum(axis=(1, 2)) / 255.0
    return {s.name: float(c) for s, c in zip(schema.sliders, change, strict=True) if c >= bench.config.visible}


@dataclass(frozen=True)
class _Known:
    """Faces whose parameters are known, and the encoder's answers."""

    on: str
    people: NDArray
    truth: NDArray[np.float32]  # [N,S]
    choices: NDArray[np.int16]  # [N,G]
    guess: NDArray[np.float32]
    guessed: NDArray[np.int16]


def _known(bench: Bench) -> _Known:
    """Held-out portraits; of a character that they do not show, its own unseen renders."""
    table, x, on, who = bench.faces, bench.x, "portraits of held-out people", "person"
    if not bench.portraits_are_its_own:
        table, on, who = bench.pairs, "unseen renders", "id"
        x = bench.predict(table, bench.imitator.size)
    truth, choices = tables.stack(table["parameters"]), tables.stack(table["discrete"], np.int16)
    return _Known(on, table[who].to_numpy(), truth, choices, *bench.schema.choose(x))


def recovery(bench: Bench, out: Path) -> dict[str, Any]:
    """How well known parameters are read from faces that never trained; `on` says which faces."""
    schema, known = bench.schema, _known(bench)
    truth, guess, people = known.truth, known.guess, known.people
    each = metrics.r2(truth, guess)
    average = metrics.r2(truth, np.broadcast_to(schema.neutral_sliders(), truth.shape))
    visible = visible_sliders(bench)

    def mean_of(names: Sequence[str]) -> Score:
        columns = [schema.slider_index[name] for name in names]
        if not np.isfinite(each[columns]).any():
            return score(None, n=len(truth))
        interval = metrics.bootstrap(
            lambda rows: float(np.nanmean(metrics.r2(truth[rows][:, columns], guess[rows][:, columns]))), people
        )
        return score(
            float(np.nanmean(each[columns])), baseline=float(np.nanmean(average[columns])), ci=interval, n=len(truth)
        )

    columns = {slider.name: number for number, slider in enumerate(schema.sliders)}
    phenotypes = [name for name in PHENOTYPES if name in columns]
    parts = sorted({slider.part for slider in schema.sliders})
    return {
        "on": known.on,
        "visible": mean_of(list(visible)),
        "phenotypes": mean_of(phenotypes) if phenotypes else nothing("the character has no phenotype sliders"),
        "all": mean_of(list(columns)),
        "skin_within_one": _skin_within_one(schema, known),
        "groups": {group.name: _right_choices(schema, known, number) for number, group in enumerate(schema.groups)},
        "parts": {part: mean_of(schema.names_of(part)) for part in parts},
        "sliders": {n: score(float(each[k]), baseline=float(average[k]), n=len(truth)) for n, k in columns.items()},
        "visible_sliders": {name: round(change, 5) for name, change in visible.items()},
    }


def _share(hit: NDArray[np.bool_], average: NDArray[np.bool_], people: NDArray) -> Score:
    interval = metrics.bootstrap(lambda rows: float(hit[rows].mean()), people)
    return score(float(hit.mean()), baseline=float(average.mean()), bound=1.0, ci=interval, n=len(hit))


def _right_choices(schema: Schema, known: _Known, number: int) -> Score:
    truth, neutral = known.choices[:, number], schema.neutral_discrete()[number]
    return _share(known.guessed[:, number] == truth, truth == neutral, known.people)


def _skin_within_one(schema: Schema, known: _Known) -> Score:
    if "skin" not in schema.group_index:
        return nothing("the character has no group `skin`")
    tone = schema.group_index["skin"]
    truth, neutral = known.choices[:, tone], schema.neutral_discrete()[tone]
    near, middle = np.abs(known.guessed[:, tone] - truth) <= 1, np.abs(neutral - truth) <= 1
    return _share(near, middle, known.people)


def verification(bench: Bench, out: Path) -> dict[str, Any]:
    """Whether two portraits show one person, told from the parameter vectors alone; the bound is the recogniser's
    own answer."""
    people = bench.faces["person"].to_numpy()
    pairs, same = metrics.same_and_different(people)
    centred = bench.x - bench.x.mean(axis=0)
    whitened = centred / np.maximum(bench.x.std(axis=0), 1e-4)
    embeddings = bench.embed(bench.faces)

    def accuracy(vectors: NDArray) -> float:
        return metrics.verification_accuracy(metrics.cosine(vectors[pairs[:, 0]], vectors[pairs[:, 1]]), same)

    bound = accuracy(embeddings)
    return {
        "parameters": score(accuracy(centred), baseline=0.5, bound=bound, n=len(pairs)),
        "parameters_standardised": score(accuracy(whitened), baseline=0.5, bound=bound, n=len(pairs)),
    }


def likeness(bench: Bench, out: Path) -> dict[str, Any]:
    """What an independent recogniser makes of photo and engine render.

    Without an engine the scores are null, and stand again as `imitator_…` for the imitator's drawings.
    """
    found = _likeness(bench, out)
    if bench.engine is not None:
        return found
    by_imitator: dict[str, Any] = {f"imitator_{name}": {**entry, "by": "imitator"} for name, entry in found.items()}
    return {name: nothing(bench.no_engine) for name in found} | by_imitator


def _likeness(bench: Bench, out: Path) -> dict[str, Score]:
    """Each held-out person is encoded from the first photo; the gallery are their second photos, so that light and
    pose of the first cannot help. The bound renders the person's true parameters, where they are known; real photos
    have none.
    """
    judge = Judge(bench.inputs["embedded"] / "judge")
    shots = bench.faces.groupby("person").cumcount()
    counts = bench.faces.groupby("person")["id"].transform("size")
    first = bench.faces[(shots == 0) & (counts > 1)].head(bench.config.judged)
    second = bench.faces[(shots == 1) & bench.faces["person"].isin(first["person"])]
    renders = bench.draw(bench.x[first.index])
    photo, gallery = _describe(judge, first["image"]), _describe(judge, second["image"])
    render, average = np.stack([judge.describe(image) for image in renders]), judge.describe(bench.average)[None]
    people, places = first["person"].to_numpy(), metrics.ranks(render, gallery)
    truth = best = None
    if bench.portraits_are_its_own:
        x = bench.schema.pack(tables.stack(first["parameters"]), tables.stack(first["discrete"], np.int16))
        truth = np.stack([judge.describe(image) for image in bench.draw(x)])
        best = metrics.ranks(truth, gallery)

    def retrieval(k: int) -> Score:
        interval = metrics.bootstrap(lambda rows: float((places[rows] <= k).mean()), people)
        bound = None if best is None else float((best <= k).mean())
        chance = min(k / len(places), 1.0)
        return score(float((places <= k).mean()), baseline=chance, bound=bound, ci=interval, n=len(places))

    some = [decode(data) for data in first["image"].head(16)]
    write_picture(out / "portraits.png", bench.side_by_side(some, renders[:16]))
    return {
        "similarity": _similarity(photo, render, average, people, truth),
        "rank1": retrieval(1),
        "rank5": retrieval(5),
        "real_photos": _real_photos(bench, judge, average, out),
    }


def _real_photos(bench: Bench, judge: Judge, average: NDArray, out: Path) -> Score:
    photos = [decode(data) for data in bench.photos["image"]]
    renders = bench.draw(bench.predict(bench.photos))
    write_picture(out / "real_photos.png", bench.side_by_side(photos, renders))
    described = np.stack([judge.describe(image) for image in renders])
    return _similarity(_describe(judge, bench.photos["image"]), described, average, bench.photos["person"].to_numpy())


def _similarity(
    photo: NDArray, render: NDArray, average: NDArray, people: NDArray, truth: NDArray | None = None
) -> Score:
    each = metrics.cosine(photo, render)
    return score(
        float(each.mean()),
        baseline=float(metrics.cosine(photo, np.broadcast_to(average, photo.shape)).mean()),
        bound=None if truth is None else float(metrics.cosine(photo, truth).mean()),
        ci=metrics.bootstrap(lambda rows: float(each[rows].mean()), people),
        n=len(each),
    )


def _describe(judge: Judge, images: pd.Series) -> NDArray[np.float64]:
    return np.stack([judge.describe(decode(data)) for data in images])


def imitator(bench: Bench, out: Path) -> dict[str, Any]:
    """How close the imitator's picture of unseen parameters is to the engine's.

    The baseline is the average face's picture; without an engine, the mean of the engine's pictures.
    """
    x = bench.schema.pack(tables.stack(bench.pairs["parameters"]), tables.stack(bench.pairs["discrete"], np.int16))
    drawn = bench.imitated(x)
    size = drawn.shape[1]
    truth = np.stack([resize(decode(data), size) for data in bench.pairs["image"]]).astype(np.float32) / 255
    head = None
    if bench.pairs["labels"].notna().all():
        head = np.stack([_shrink_labels(decode_labels(data), size) > 0 for data in bench.pairs["labels"]])
    plain = truth.mean(axis=0) if bench.engine is None else resize(bench.average, size).astype(np.float32) / 255
    ours, theirs = _closeness(drawn, truth, head), _closeness(np.repeat(plain[None], len(x), axis=0), truth, head)
    tiles = zip(truth[:16], drawn[:16], strict=True)
    pictures = [resize(as_bytes(image), FACE_SIZE) for pair in tiles for image in pair]
    write_picture(out / "imitator.png", grid(pictures, columns=8))
    names = np.arange(len(x))
    scores = {
        name: score(
            float(values.mean()), baseline=float(theirs[name].mean()), n=len(values),
            ci=metrics.bootstrap(lambda rows, values=values: float(values[rows].mean()), names),
        )
        for name, values in ours.items()
    }  # fmt: skip
    return scores if head is not None else scores | {"psnr_head": nothing("the pairs have no label maps")}


def _closeness(images: NDArray, truth: NDArray, head: NDArray[np.bool_] | None) -> dict[str, NDArray[np.float64]]:
    """Of pictures [N,h,h,3] in [0,1] to the true ones; inside the head where its pixels are known."""
    from skimage.metrics import structural_similarity

    squared = ((images - truth) ** 2).mean(axis=3)
    inside = {} if head is None else {"psnr_head": (squared * head).sum(axis=(1, 2)) / head.sum(axis=(1, 2))}
    ssim = [structural_similarity(a, b, channel_axis=2, data_range=1.0) for a, b in zip(images, truth, strict=True)]
    noise = {"psnr": squared.mean(axis=(1, 2)), **inside}
    return {
        "l1": np.abs(images - truth).mean(axis=(1, 2, 3)).astype(np.float64),
        **{name: -10 * np.log10(np.maximum(values, 1e-10).astype(np.float64)) for name, values in noise.items()},
        "ssim": np.array(ssim),
    }


def _shrink_labels(labels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return cv2.resize(labels, (size, size), interpolation=cv2.INTER_NEAREST).astype(np.uint8)


def parsing(bench: Bench, out: Path) -> dict[str, Any]:
    """F1 of each class on held-out portraits. The bound is what a grid of 1/8 can hold; the baseline is the average
    face's map."""
    device = bench.context.device
    model = parsing_stage.load(bench.inputs["parsing_model"]).to(device).eval()
    truth = np.stack([decode_labels(data) for data in bench.faces["labels"]])
    size = truth.shape[1]

    def classify(faces: Tensor) -> Tensor:
        return _enlarged(model(faces), size).argmax(1).byte()

    guess = tables.in_batches(classify, tables.Pictures(bench.faces["image"].tolist(), size), device, batch=16).numpy()
    average = _average_labels(bench, size)
    few = truth[:: max(len(truth) // FITTED, 1)][:FITTED]
    fitted = fit_logits(torch.from_numpy(few), size // STRIDE)
    baseline = None if average is None else metrics.f1(truth, np.broadcast_to(average, truth.shape), len(CLASSES))
    figures = [metrics.f1(truth, guess, len(CLASSES)), metrics.f1(few, fitted, len(CLASSES))]
    people = bench.faces["person"].to_numpy()
    sample = np.sort(np.random.default_rng(0).permutation(len(truth))[:200])

    def mean_f1(rows: NDArray[np.int64]) -> float:
        return float(
            np.nanmean(metrics.f1(truth[sample][rows][:, ::2, ::2], guess[sample][rows][:, ::2, ::2], len(CLASSES))[1:])
        )

    value, bound = (float(np.nanmean(figure[1:])) for figure in figures)
    mean = score(
        value, bound=bound, ci=metrics.bootstrap(mean_f1, people[sample]), n=len(truth),
        baseline=None if baseline is None else float(np.nanmean(baseline[1:])),
    )  # fmt: skip
    each = zip(CLASSES, *figures, [None] * len(CLASSES) if baseline is None else baseline, strict=True)
    return {"mean": mean, "classes": {name: score(v, baseline=b, bound=t, n=len(truth)) for name, v, t, b in each}}


def _average_labels(bench: Bench, size: int) -> NDArray[np.uint8] | None:
    """The average face's label map [size,size]; only the embedded engine has one."""
    labels = bench.drawn(*bench.schema.choose(bench.schema.neutral()[None]), size).labels
    return None if labels is None else labels[0]


def fit_logits(truth: Tensor, cells: int, steps: int = 60) -> NDArray[np.uint8]:
    """Class ids [N,H,W] that the best possible logits on a grid of cells × cells give for the truth [N,H,W] itself."""
    with torch.enable_grad():
        hot = torch.nn.functional.one_hot(truth.long(), len(CLASSES)).permute(0, 3, 1, 2).float()
        small = torch.nn.functional.interpolate(hot, (cells, cells), mode="area")
        logits = (small * 8).requires_grad_()
        optimiser = torch.optim.Adam([logits], lr=0.5)
        for _ in range(steps):
            loss = torch.nn.functional.cross_entropy(_enlarged(logits, truth.shape[1]), truth.long())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return _enlarged(logits.detach(), truth.shape[1]).argmax(1).byte().numpy()


def _enlarged(logits: Tensor, size: int) -> Tensor:
    return torch.nn.functional.interpolate(logits, size=(size, size), mode="bilinear", align_corners=False)


def identity(bench: Bench, out: Path) -> dict[str, Any]:
    """Verification of unseen people before and after fine-tuning; chance is the baseline, `before` stands beside
    `after`."""
    original = (
        IdentityModel.from_onnx(bench.inputs["embedded"] / "identity" / "sface.onnx").to(bench.context.device).eval()
    )
    meta = json.loads((bench.inputs["identity_model"] / "meta.json").read_text())
    scores: dict[str, Any] = {}
    for domain, table in (("portraits", bench.faces), ("real_photos", bench.photos)):
        pairs, same = metrics.same_and_different(table["person"])
        if not 0 < same.sum() < len(same):
            continue
        for stage, model in (("before", original), ("after", bench.identity)):
            vectors = embed(model, table["image"], bench.context.device)
            similarity = metrics.cosine(vectors[pairs[:, 0]], vectors[pairs[:, 1]])
            scores[f"{domain}_{stage}"] = score(
                metrics.verification_accuracy(similarity, same), baseline=0.5, bound=1.0, n=len(pairs)
            )
    trained = meta["verification"]
    return scores | {"steps_kept": trained["steps_kept"], "steps_trained": trained["steps_trained"]}


def throughput(bench: Bench) -> float:
    """Photos a second from the file's bytes to parameters: decoding, landmarks, alignment, embedding, encoder."""
    photos = [
        path.read_bytes()
        for path in sorted(bench.inputs["photos"].rglob("*"))
        if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
    ]
    with bench.predictor() as predictor:
        predictor.predict(photos[0])
        photos = (photos * 32)[:32]
        start = time.perf_counter()
        for photo in photos:
            predictor.predict(photo)
        return len(photos) / (time.perf_counter() - start)
