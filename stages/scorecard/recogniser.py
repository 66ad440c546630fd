"""Identity: verification of unseen people by the recogniser's embeddings, before and after fine-tuning."""

import json
from typing import Any

from models.identity import IdentityModel
from stages import metrics
from stages.bench import Bench, embed
from stages.metrics import score
from stages.scorecard.parameter_pairs import people_pairs
from stages.scorecard.report import Report


def identity(bench: Bench, report: Report) -> dict[str, Any]:
    """Accuracy by LFW's protocol; chance is the baseline, `before` stands beside `after`."""
    original = (
        IdentityModel.from_onnx(bench.inputs["embedded"] / "identity" / "sface.onnx").to(bench.context.device).eval()
    )
    meta = json.loads((bench.inputs["identity_model"] / "meta.json").read_text())
    scores: dict[str, Any] = {}
    for domain, table, after in (
        ("portraits", bench.faces, lambda: bench.embeddings),
        ("real_photos", bench.photos, lambda: bench.embed(bench.photos)),
    ):
        pairs = people_pairs(table["person"].to_numpy())
        if pairs is None:
            continue
        before = embed(original, table["image"], bench.context.device)
        for stage, vectors in (("before", before), ("after", after())):
            hits = pairs.told_right(vectors)
            scores[f"{domain}_{stage}"] = score(
                metrics.balanced(hits, pairs.same), baseline=0.5, bound=1.0, n=len(hits),
                ci=metrics.interval(pairs.resampled(hits)),
            )  # fmt: skip
    trained = meta["verification"]
    return scores | {"steps_kept": trained["steps_kept"], "steps_trained": trained["steps_trained"]}
