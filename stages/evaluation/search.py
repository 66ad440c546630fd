"""The one-shot encoder beside the gradient search that it replaces: likeness by the independent judge, and seconds.

Up to four answers for each held-out person: the encoder's; 50 gradient steps from the average face as in ICCV 2019
(models/search.py); the encoder's, refined by the identity imitator's gradient, and refined by what the engine draws
(models/refinement.py). All are drawn by the engine and compared with photos as in the section `likeness`. Alignment is
the same for all and not counted.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from models.identity_imitator import IdentityImitator
from models.images import decode, grid, resize
from models.refinement import RENDER_SIZE, Refinement
from models.search import ICCV_2019, ParameterSearch
from stages.data.dataset import ImageDataset, row_batches, to_unit
from stages.data.pictures import IMITATOR_MARK, marked, write_picture
from stages.evaluation import metrics
from stages.evaluation.context import FACE_SIZE, EvaluationContext
from stages.evaluation.likeness import first_and_second
from stages.evaluation.metrics import mean_score, nothing

BATCH = 8
SHOWN = 8
REFINED = ("refined", "refined_by_engine")
WORDS = {
    "one_shot": "one shot",
    "from_average": "searched from average",
    "refined": "refined by gradient",
    "refined_by_engine": "refined by engine",
}


def compare(evaluation: EvaluationContext, out: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """Scores of the section `search`, and what the clock says about the same faces: `search.…_seconds` for each face.

    Writes `search.png`: photo and the answers.
    """
    first, second = first_and_second(evaluation.faces, evaluation.config.searched)
    if len(first) < 2:
        return {name: nothing("no person was searched for", len(first)) for name in WORDS}, {}
    answers, seconds = _answers(evaluation, first)
    renders = {name: evaluation.draw(x) for name, x in answers.items()}
    _write_sheet(evaluation, first, renders, out / "search.png")
    return _scores(evaluation, first, second, renders), seconds


def _answers(
    evaluation: EvaluationContext, first: pd.DataFrame
) -> tuple[dict[str, NDArray[np.float32]], dict[str, float]]:
    """Parameters [N, width] by each way, and its seconds a face; a refinement's include the encoder's."""
    total = len(first)
    evaluation.predict(first.head(1))  # whatever is set up by a first call counts for nobody
    one_shot, alone = _timed(lambda: evaluation.predict(first), total)
    answers, seconds = {"one_shot": one_shot}, {"one_shot": alone}
    answers["from_average"], long = _timed(lambda: _from_average(evaluation, first), total)
    seconds["from_average"] = long
    ways = {"refined": False} | ({} if evaluation.engine is None else {"refined_by_engine": True})
    for name, draws in ways.items():
        answers[name], more = _timed(lambda draws=draws: _refined(evaluation, first, one_shot, draws), total)
        seconds[name] = alone + more
    return answers, {f"search.{name}_seconds": value for name, value in seconds.items()} | {
        "search.speedup": long / alone
    }


def _from_average(evaluation: EvaluationContext, first: pd.DataFrame) -> NDArray[np.float32]:
    device, schema = evaluation.context.device, evaluation.schema
    networks = (evaluation.imitator, evaluation.identity, evaluation.parser)
    search = ParameterSearch(*networks, schema.n_sliders, schema.group_sizes).to(device)
    pictures = ImageDataset(first["image"].tolist(), FACE_SIZE, cache_bytes=0)
    settings = replace(ICCV_2019, steps=evaluation.config.search_steps)
    average, found = torch.from_numpy(schema.neutral()).to(device), []
    for rows in row_batches(len(first), BATCH):
        evaluation.context.progress("scorecard: search from average", int(rows[0]), len(first))
        found.append(search(to_unit(pictures[rows], device), average.expand(len(rows), -1), settings).x.cpu())
    return torch.cat(found).numpy()


def _refined(
    evaluation: EvaluationContext, first: pd.DataFrame, one_shot: NDArray[np.float32], draws: bool
) -> NDArray[np.float32]:
    device, identity = evaluation.context.device, evaluation.identity
    imitator = IdentityImitator.load(evaluation.inputs["identity_imitator"])
    refinement = Refinement(imitator, evaluation.encoder).to(device)
    pictures = ImageDataset(first["image"].tolist(), FACE_SIZE, cache_bytes=0)

    def look(x: torch.Tensor) -> torch.Tensor:
        drawn = evaluation.draw(x.cpu().numpy(), RENDER_SIZE)
        return identity(to_unit(torch.from_numpy(drawn).permute(0, 3, 1, 2), device))

    found = []
    for rows in row_batches(len(first), BATCH):
        evaluation.context.progress("scorecard: refinement", int(rows[0]), len(first))
        faces = to_unit(pictures[rows], device)
        photos, start = identity(faces) + identity(faces.flip(-1)), torch.from_numpy(one_shot[rows]).to(device)
        way = refinement.by_engine(photos, start, look) if draws else refinement.by_gradient(photos, start)
        found.append(way.x.cpu())
    return torch.cat(found).numpy()


def _timed(work: Callable[[], NDArray[np.float32]], faces: int) -> tuple[NDArray[np.float32], float]:
    """A result that has reached the CPU, and the seconds it took for each face."""
    start = time.perf_counter()
    result = work()
    return result, (time.perf_counter() - start) / faces


def _scores(
    evaluation: EvaluationContext, first: pd.DataFrame, second: pd.DataFrame, renders: dict[str, NDArray[np.uint8]]
) -> dict[str, Any]:
    judge, people = evaluation.judge, first["person"].to_numpy()
    photo, gallery = (judge.all_of(table["image"]) for table in (first, second))
    average = judge.all_of([evaluation.average])
    own_photo, own_average = evaluation.embed(first), _embedded(evaluation, evaluation.average[None])
    similarity, scores = {}, {}
    for name, images in renders.items():
        described = judge.all_of(images)
        similarity[name] = metrics.cosine(photo, described)
        places = metrics.ranks(described, gallery)
        scores[name] = {
            "similarity": mean_score(similarity[name], people, baseline=float(metrics.cosine(photo, average).mean())),
            "rank1": mean_score((places == 1).astype(float), people, baseline=1 / len(places)),
            "own_similarity": mean_score(
                metrics.cosine(own_photo, _embedded(evaluation, images)), people,
                baseline=float(metrics.cosine(own_photo, own_average).mean()),
            ),
        }  # fmt: skip
    for name, other in (("one_shot", "from_average"), *((name, "one_shot") for name in REFINED if name in renders)):
        scores[f"{name}_minus_{other}"] = mean_score(similarity[name] - similarity[other], people, baseline=0.0)
    if evaluation.engine is not None:
        return scores
    return _by_imitator(scores) | {"refined_by_engine": nothing(evaluation.no_engine)}


def _by_imitator(scores: dict[str, Any]) -> dict[str, Any]:
    """The same scores, which say that the imitator drew in the engine's place."""
    return {
        name: {**entry, "by": "imitator"} if "value" in entry else _by_imitator(entry)
        for name, entry in scores.items()
    }  # fmt: skip


@torch.no_grad()
def _embedded(evaluation: EvaluationContext, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The training recogniser's embeddings [N, D] of pictures [N, h, h, 3]."""
    batches = [torch.from_numpy(images[k : k + 32]).permute(0, 3, 1, 2) for k in range(0, len(images), 32)]
    device = evaluation.context.device
    return torch.cat([evaluation.identity(to_unit(batch, device)).cpu() for batch in batches]).numpy()


def _write_sheet(
    evaluation: EvaluationContext, first: pd.DataFrame, renders: dict[str, NDArray[np.uint8]], path: Path
) -> None:
    drawn_by = "" if evaluation.engine is not None else f", {IMITATOR_MARK}"
    tiles = []
    for row, data in enumerate(first["image"].head(SHOWN)):
        tiles.append(marked(resize(decode(data), FACE_SIZE), "photo"))
        shown = [(renders[name][row], word) for name, word in WORDS.items() if name in renders]
        tiles += [marked(resize(render, FACE_SIZE), word + drawn_by) for render, word in shown]
    write_picture(path, grid(tiles, columns=len(renders) + 1))
