"""Score an encoder on people who never trained: recovery, verification, likeness, imitator, parsing, identity, speed.

Every score stands beside the same score of the average face (`baseline`), the best that could be reached (`bound`),
a 95 % interval from resampling people (`ci`) and the number of samples (`n`). `scorecard.json` holds what the same
inputs always give; the speed is only in the returned metrics.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from torch import Tensor

from engine.renderer import Renderer
from engine.scenes import Scenes
from models.encoder import Encoder
from models.identity import IdentityModel
from models.images import decode, decode_labels, grid, resize
from models.parsing import CLASSES, STRIDE
from models.predictor import Predictor
from stages import encoder as encoder_stage
from stages import identity_model as identity_stage
from stages import imitator as imitator_stage
from stages import metrics, tables
from stages import parsing_model as parsing_stage
from stages.context import Context
from stages.judge import Judge
from stages.metrics import Score, score
from stages.pictures import write_picture

VERSION = "1"
INPUTS = (
    "embedded", "photos", "character", "aligned_faces", "identity_model", "parsing_model", "rendered_pairs",
    "imitator", "encoder",
)  # fmt: skip
PHENOTYPES = ("sex", "age", "african", "asian", "european")
FACE_SIZE = 256
FITTED = 16  # label maps that the parser's bound is measured on


class Config(BaseModel, frozen=True, extra="forbid"):
    """How much is scored."""

    people: int = Field(default=1000, ge=2, description="held-out people at the most")
    judged: int = Field(default=1000, ge=2, description="of these, how many the judge compares")
    pairs: int = Field(default=1000, ge=1, description="unseen renders at the most")
    visible: float = Field(
        default=0.004,
        description="a slider is visible if, from 0 to 1, it changes the head in the frontal render by this mean share "
        "of full scale",
    )


@dataclass(frozen=True)
class Bench:
    """Everything that is scored, loaded once."""

    renderer: Renderer
    faces: pd.DataFrame  # held-out synthetic portraits
    photos: pd.DataFrame  # real photos
    pairs: pd.DataFrame  # unseen renders
    identity: IdentityModel
    encoder: Encoder
    x: NDArray[np.float32]  # [N,width] the encoder's answers to `faces`
    config: Config
    inputs: Mapping[str, Path]
    context: Context


def run(inputs: Mapping[str, Path], config: Config, out: Path, context: Context) -> dict[str, float]:
    """Write `scorecard.json` and pictures. Returns the main figures and the speed."""
    torch.set_grad_enabled(False)
    try:
        bench = _load(inputs, config, context)
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


def _load(inputs: Mapping[str, Path], config: Config, context: Context) -> Bench:
    faces = tables.read(inputs["aligned_faces"] / "faces.parquet")
    test = faces[(faces["split"] == "test") & (faces["source"] == "portraits")]
    people = sorted(test["person"].unique())[: config.people]
    test = test[test["person"].isin(people)].sort_values("id").reset_index(drop=True)
    pairs = tables.read(inputs["rendered_pairs"] / "pairs.parquet")
    identity = identity_stage.load(inputs["identity_model"]).to(context.device).eval()
    encoder = encoder_stage.load(inputs["encoder"]).to(context.device).eval()
    return Bench(
        renderer=Renderer(inputs["character"], inputs["embedded"], context.device),
        faces=test,
        photos=faces[faces["source"] == "photos"].sort_values("id").reset_index(drop=True),
        pairs=pairs[pairs["split"] == "test"].head(config.pairs).reset_index(drop=True),
        identity=identity,
        encoder=encoder,
        x=predict(identity, encoder, test["image"], context.device),
        config=config,
        inputs=inputs,
        context=context,
    )


def embed(identity: IdentityModel, images: pd.Series, device: str) -> NDArray[np.float32]:
    """Identity embeddings [N,D] of aligned faces."""
    return tables.in_batches(identity, tables.Pictures(images.tolist(), FACE_SIZE), device).numpy()


def predict(identity: IdentityModel, encoder: Encoder, images: pd.Series, device: str) -> NDArray[np.float32]:
    """Parameter vectors [N,width] of aligned faces."""
    return tables.in_batches(
        lambda faces: encoder(identity(faces)), tables.Pictures(images.tolist(), FACE_SIZE), device
    ).numpy()


def visible_sliders(renderer: Renderer, threshold: float, size: int = 128) -> dict[str, float]:
    """How much each slider, from 0 to 1, changes the frontal render of the bald average face.

    Mean absolute difference over the head's pixels as a share of full scale, of the sliders that reach the threshold.
    """
    schema = renderer.schema
    sliders = np.repeat(schema.neutral_sliders()[None], 2 * schema.n_sliders, axis=0)
    for number in range(schema.n_sliders):
        sliders[2 * number, number], sliders[2 * number + 1, number] = 0.0, 1.0
    choices = np.repeat(schema.neutral_discrete()[None], len(sliders), axis=0)
    drawn = renderer.render(sliders, choices, Scenes.game(len(sliders)), size)
    low, high = drawn.image[0::2].astype(np.float32), drawn.image[1::2].astype(np.float32)
    head = (drawn.labels[0::2] > 0) | (drawn.labels[1::2] > 0)
    change = (np.abs(high - low).mean(axis=3) * head).sum(axis=(1, 2)) / head.sum(axis=(1, 2)) / 255.0
    return {s.name: float(c) for s, c in zip(schema.sliders, change, strict=True) if c >= threshold}


def recovery(bench: Bench, out: Path) -> dict[str, Any]:
    """How well known parameters of held-out people are read from their portraits."""
    schema, people = bench.renderer.schema, bench.faces["person"].to_numpy()
    truth, choices = np.stack(bench.faces["parameters"].tolist()), np.stack(bench.faces["discrete"].tolist())
    guess, guessed = schema.choose(bench.x)
    neutral = np.broadcast_to(schema.neutral_sliders(), truth.shape)
    each, average = metrics.r2(truth, guess), metrics.r2(truth, neutral)
    visible = visible_sliders(bench.renderer, bench.config.visible)

    def mean_of(names: list[str]) -> Score:
        columns = [schema.slider_index[name] for name in names]
        interval = metrics.bootstrap(
            lambda rows: float(np.nanmean(metrics.r2(truth[rows][:, columns], guess[rows][:, columns]))), people
        )
        return score(
            float(np.nanmean(each[columns])), baseline=float(np.nanmean(average[columns])), ci=interval, n=len(truth)
        )

    parts = sorted({slider.part for slider in schema.sliders})
    columns = {slider.name: number for number, slider in enumerate(schema.sliders)}
    groups = {}
    for number, group in enumerate(schema.groups):
        hit = guessed[:, number] == choices[:, number]
        average_hit = float((choices[:, number] == schema.neutral_discrete()[number]).mean())
        interval = metrics.bootstrap(lambda rows, hit=hit: float(hit[rows].mean()), people)
        groups[group.name] = score(float(hit.mean()), baseline=average_hit, bound=1.0, ci=interval, n=len(hit))
    tone = schema.group_index["skin"]
    near = np.abs(guessed[:, tone] - choices[:, tone]) <= 1
    middle = np.abs(schema.neutral_discrete()[tone] - choices[:, tone]) <= 1
    return {
        "visible": mean_of(list(visible)),
        "phenotypes": mean_of(list(PHENOTYPES)),
        "all": mean_of(list(columns)),
        "skin_within_one": score(
            float(near.mean()), baseline=float(middle.mean()), bound=1.0, n=len(near),
            ci=metrics.bootstrap(lambda rows: float(near[rows].mean()), people),
        ),
        "groups": groups,
        "parts": {part: mean_of([s.name for s in schema.sliders if s.part == part]) for part in parts},
        "sliders": {n: score(float(each[k]), baseline=float(average[k]), n=len(truth)) for n, k in columns.items()},
        "visible_sliders": {name: round(change, 5) for name, change in visible.items()},
    }  # fmt: skip


def verification(bench: Bench, out: Path) -> dict[str, Any]:
    """Whether two portraits show one person, told from the parameter vectors alone; the bound is the recogniser's
    own answer."""
    people = bench.faces["person"].to_numpy()
    pairs, same = metrics.same_and_different(people)
    centred = bench.x - bench.x.mean(axis=0)
    whitened = centred / np.maximum(bench.x.std(axis=0), 1e-4)
    embeddings = embed(bench.identity, bench.faces["image"], bench.context.device)

    def accuracy(vectors: NDArray) -> float:
        return metrics.verification_accuracy(metrics.cosine(vectors[pairs[:, 0]], vectors[pairs[:, 1]]), same)

    bound = accuracy(embeddings)
    return {
        "parameters": score(accuracy(centred), baseline=0.5, bound=bound, n=len(pairs)),
        "parameters_standardised": score(accuracy(whitened), baseline=0.5, bound=bound, n=len(pairs)),
    }


def likeness(bench: Bench, out: Path) -> dict[str, Any]:
    """What an independent recogniser makes of photo and engine render.

    Each held-out person is encoded from the first photo; the gallery are their second photos, so that light and pose
    of the first cannot help. The bound renders the person's true parameters. Real photos have no bound.
    """
    judge, renderer = Judge(bench.inputs["embedded"] / "judge"), bench.renderer
    shots = bench.faces.groupby("person").cumcount()
    counts = bench.faces.groupby("person")["id"].transform("size")
    first = bench.faces[(shots == 0) & (counts > 1)].head(bench.config.judged)
    second = bench.faces[(shots == 1) & bench.faces["person"].isin(first["person"])]
    x = bench.x[first.index]
    truth = renderer.schema.pack(np.stack(first["parameters"].tolist()), np.stack(first["discrete"].tolist()))
    renders = draw(renderer, x)
    described = {
        "photo": _describe(judge, first["image"]),
        "gallery": _describe(judge, second["image"]),
        "render": np.stack([judge.describe(image) for image in renders]),
        "truth": np.stack([judge.describe(image) for image in draw(renderer, truth)]),
        "average": judge.describe(draw(renderer, renderer.schema.neutral()[None])[0])[None],
    }
    people = first["person"].to_numpy()
    places = metrics.ranks(described["render"], described["gallery"])
    best = metrics.ranks(described["truth"], described["gallery"])

    def retrieval(k: int) -> Score:
        chance = min(k / len(places), 1.0)
        interval = metrics.bootstrap(lambda rows: float((places[rows] <= k).mean()), people)
        return score(
            float((places <= k).mean()), baseline=chance, bound=float((best <= k).mean()), ci=interval, n=len(places)
        )

    real_images = [decode(data) for data in bench.photos["image"]]
    real_x = predict(bench.identity, bench.encoder, bench.photos["image"], bench.context.device)
    real_renders = draw(renderer, real_x)
    write_picture(out / "real_photos.png", _side_by_side(real_images, real_renders))
    write_picture(
        out / "portraits.png", _side_by_side([decode(data) for data in first["image"].head(16)], renders[:16])
    )
    return {
        "similarity": _similarity(
            described["photo"], described["render"], described["average"], people, described["truth"]
        ),
        "rank1": retrieval(1),
        "rank5": retrieval(5),
        "real_photos": _similarity(
            _describe(judge, bench.photos["image"]),
            np.stack([judge.describe(image) for image in real_renders]),
            described["average"],
            bench.photos["person"].to_numpy(),
        ),
    }


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


def draw(renderer: Renderer, x: NDArray[np.float32], size: int = FACE_SIZE) -> NDArray[np.uint8]:
    """The engine's renders [N,size,size,3] of parameter vectors."""
    sliders, choices = renderer.schema.choose(x)
    return renderer.render(sliders, choices, Scenes.game(len(x)), size).image


def _side_by_side(photos: list[NDArray[np.uint8]], renders: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pairs = [
        image for photo, render in zip(photos, renders, strict=True) for image in (resize(photo, FACE_SIZE), render)
    ]
    return grid(pairs, columns=8)


def imitator(bench: Bench, out: Path) -> dict[str, Any]:
    """How close the imitator's picture of unseen parameters is to the engine's."""
    from skimage.metrics import structural_similarity

    schema, device = bench.renderer.schema, bench.context.device
    model = imitator_stage.load(bench.inputs["imitator"]).to(device).eval()
    x = schema.pack(np.stack(bench.pairs["parameters"].tolist()), np.stack(bench.pairs["discrete"].tolist()))
    batches = [model(torch.from_numpy(x[k : k + 32]).to(device)) for k in range(0, len(x), 32)]
    drawn = torch.cat(batches).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    size = drawn.shape[1]
    truth = np.stack([resize(decode(data), size) for data in bench.pairs["image"]]).astype(np.float32) / 255
    head = np.stack([_shrink_labels(decode_labels(data), size) > 0 for data in bench.pairs["labels"]])
    average = np.repeat(draw(bench.renderer, schema.neutral()[None], size).astype(np.float32) / 255, len(x), axis=0)

    def figures(images: NDArray) -> dict[str, NDArray[np.float64]]:
        squared = ((images - truth) ** 2).mean(axis=3)
        inside = (squared * head).sum(axis=(1, 2)) / head.sum(axis=(1, 2))
        ssim = [structural_similarity(a, b, channel_axis=2, data_range=1.0) for a, b in zip(images, truth, strict=True)]
        return {
            "l1": np.abs(images - truth).mean(axis=(1, 2, 3)).astype(np.float64),
            "psnr": -10 * np.log10(squared.mean(axis=(1, 2)).astype(np.float64)),
            "psnr_head": -10 * np.log10(inside.astype(np.float64)),
            "ssim": np.array(ssim),
        }

    ours, theirs = figures(drawn), figures(average)
    write_picture(
        out / "imitator.png", _side_by_side([(t * 255).astype(np.uint8) for t in truth[:16]], _as_bytes(drawn[:16]))
    )
    names = np.arange(len(x))
    return {
        name: score(
            float(values.mean()), baseline=float(theirs[name].mean()), n=len(values),
            ci=metrics.bootstrap(lambda rows, values=values: float(values[rows].mean()), names),
        )
        for name, values in ours.items()
    }  # fmt: skip


def _as_bytes(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.stack([resize((image * 255 + 0.5).astype(np.uint8), FACE_SIZE) for image in images])


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
    average = _average_labels(bench.renderer, size)
    few = truth[:: max(len(truth) // FITTED, 1)][:FITTED]
    fitted = fit_logits(torch.from_numpy(few), size // STRIDE)
    figures = [
        metrics.f1(known, maps, len(CLASSES))
        for known, maps in ((truth, guess), (truth, np.broadcast_to(average, truth.shape)), (few, fitted))
    ]
    people = bench.faces["person"].to_numpy()
    sample = np.sort(np.random.default_rng(0).permutation(len(truth))[:200])

    def mean_f1(rows: NDArray[np.int64]) -> float:
        return float(
            np.nanmean(metrics.f1(truth[sample][rows][:, ::2, ::2], guess[sample][rows][:, ::2, ::2], len(CLASSES))[1:])
        )

    value, baseline, bound = (float(np.nanmean(figure[1:])) for figure in figures)
    classes = zip(CLASSES, *figures, strict=True)
    mean = score(value, baseline=baseline, bound=bound, ci=metrics.bootstrap(mean_f1, people[sample]), n=len(truth))
    return {"mean": mean, "classes": {name: score(v, baseline=b, bound=t, n=len(truth)) for name, v, b, t in classes}}


def _average_labels(renderer: Renderer, size: int) -> NDArray[np.uint8]:
    sliders, choices = renderer.schema.choose(renderer.schema.neutral()[None])
    return renderer.render(sliders, choices, Scenes.game(1), size).labels[0]


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
    landmarks = bench.inputs["embedded"] / "landmarks" / "face_landmarker.task"
    with Predictor(landmarks, bench.identity, bench.encoder) as predictor:
        predictor.predict(photos[0])
        photos = (photos * 32)[:32]
        start = time.perf_counter()
        for photo in photos:
            predictor.predict(photo)
        return len(photos) / (time.perf_counter() - start)
