"""Identity: verification of unseen people by the recogniser's embeddings, before and after fine-tuning."""

import json
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.identity import IdentityModel
from stages.evaluation import metrics
from stages.evaluation.context import EvaluationContext, embed
from stages.evaluation.metrics import score
from stages.evaluation.report import Report
from stages.evaluation.verification import people_pairs
from stages.identity_model import WEIGHTS


def identity(evaluation: EvaluationContext, report: Report) -> dict[str, Any]:
    """Accuracy by LFW's protocol; chance is the baseline, `before` stands beside `after`."""
    meta = json.loads((evaluation.inputs["identity_model"] / "meta.json").read_text())
    scores: dict[str, Any] = {}
    for domain, table, after in (
        ("portraits", evaluation.faces, lambda: evaluation.embeddings),
        ("real_photos", evaluation.photos, lambda: evaluation.embed(evaluation.photos)),
    ):
        pairs = people_pairs(table["person"].to_numpy())
        if pairs is None:
            continue
        before = evaluation.once(f"{domain} before", partial(_before, evaluation, table))
        for stage, vectors in (("before", before), ("after", after())):
            hits = pairs.told_right(vectors)
            scores[f"{domain}_{stage}"] = score(
                metrics.balanced(hits, pairs.same), baseline=0.5, bound=1.0, n=len(hits),
                resampled=pairs.resampled(hits),
            )  # fmt: skip
    trained = meta["verification"]
    return scores | {"steps_kept": trained["steps_kept"], "steps_trained": trained["steps_trained"]}


def _before(evaluation: EvaluationContext, table: pd.DataFrame) -> NDArray[np.float32]:
    """Embeddings [N, D] by the recogniser as it was published; by SFace where it was trained from scratch."""
    device = evaluation.context.device
    kind = evaluation.identity.kind if evaluation.identity.kind in WEIGHTS else "sface"
    original = IdentityModel.from_file(kind, evaluation.inputs["embedded"] / WEIGHTS[kind]).to(device)
    return embed(original, table["image"], device)
