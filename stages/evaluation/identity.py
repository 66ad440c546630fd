"""Identity: verification of unseen people by the recogniser's embeddings, before and after fine-tuning."""

import json
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.identity import IdentityModel
from stages.evaluation import metrics
from stages.evaluation.context import Bench, embed
from stages.evaluation.metrics import score
from stages.evaluation.report import Report
from stages.evaluation.verification import people_pairs


def identity(bench: Bench, report: Report) -> dict[str, Any]:
    """Accuracy by LFW's protocol; chance is the baseline, `before` stands beside `after`."""
    meta = json.loads((bench.inputs["identity_model"] / "meta.json").read_text())
    scores: dict[str, Any] = {}
    for domain, table, after in (
        ("portraits", bench.faces, lambda: bench.embeddings),
        ("real_photos", bench.photos, lambda: bench.embed(bench.photos)),
    ):
        pairs = people_pairs(table["person"].to_numpy())
        if pairs is None:
            continue
        before = bench.once(f"{domain} before", partial(_before, bench, table))
        for stage, vectors in (("before", before), ("after", after())):
            hits = pairs.told_right(vectors)
            scores[f"{domain}_{stage}"] = score(
                metrics.balanced(hits, pairs.same), baseline=0.5, bound=1.0, n=len(hits),
                resampled=pairs.resampled(hits),
            )  # fmt: skip
    trained = meta["verification"]
    return scores | {"steps_kept": trained["steps_kept"], "steps_trained": trained["steps_trained"]}


def _before(bench: Bench, table: pd.DataFrame) -> NDArray[np.float32]:
    """Embeddings [N,D] by the recogniser as it was published."""
    device = bench.context.device
    original = IdentityModel.from_onnx(bench.inputs["embedded"] / "identity" / "sface.onnx").to(device).eval()
    return embed(original, table["image"], device)
