"""How far an answer is from another version's to the same photo: numbers, which do not tell whose photo it was.

The two are compared by the names of sliders and groups: schemas may have grown between them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.character import CharacterError
from engine.schema import SchemaError
from serving.workers.refiner import CannotRefine, Refiner, drawn

ENGINE, IMITATOR = "engine", "imitator"
"""What the similarity is of: two renders, or the embeddings that the identity imitator expects of them."""
log = logging.getLogger("likeness.serving")


@dataclass(frozen=True)
class Comparer:
    """Compares answers of one release with another's. The engine that `refiner` opens draws both characters."""

    model: Any
    refiner: Refiner

    def compare(self, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
        """Both as `parameters` and `discrete` of a character.json.

        parameters, largest: mean and largest absolute difference of the sliders that both have, in [0, 1].
        choices: of each group that both have, whether it is set to another choice.
        similarity: cosine of the recogniser's embeddings of the two renders, and `drawn_by`; both null where this
        release or this character has neither.
        """
        mine, other = ours["parameters"], theirs["parameters"]
        differences = [abs(mine[name] - other[name]) for name in mine.keys() & other.keys()]
        similarity, drawn_by = self._similarity(ours, theirs)
        return {
            "parameters": sum(differences) / len(differences) if differences else None,
            "largest": max(differences, default=None),
            "choices": {
                group: chosen["choice"] != theirs["discrete"][group]["choice"]
                for group, chosen in ours["discrete"].items()
                if group in theirs["discrete"]
            },
            "similarity": similarity,
            "drawn_by": drawn_by,
        }

    def _similarity(self, *both: Mapping[str, Any]) -> tuple[float | None, str | None]:
        try:
            return self._of_renders(both), ENGINE
        except (CannotRefine, CharacterError, SchemaError) as error:
            log.info("a comparison without the engine: %s", error)
        try:
            return self._expected(both), IMITATOR
        except (AttributeError, ValueError) as error:  # registered before there was one; or its own SchemaError
            log.info("a comparison without renders: %s", error)
            return None, None

    def _of_renders(self, both: tuple[Mapping[str, Any], ...]) -> float:
        import numpy as np
        import torch

        pictures = np.stack([drawn(self.refiner.engine, named) for named in both])
        predictor = self.model.predictor
        with torch.inference_mode():
            faces = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
            return _cosine(predictor.identity(faces.to(predictor.device)))

    def _expected(self, both: tuple[Mapping[str, Any], ...]) -> float:
        import numpy as np
        import torch

        schema = self.model.schema
        x = np.stack([schema.from_document(named["parameters"], named["discrete"]) for named in both])
        with torch.inference_mode():
            return _cosine(self.model.refinement.imitator(torch.from_numpy(x).to(self.model.predictor.device)))


def _cosine(embeddings: Any) -> float:
    """Of two embeddings [2, D]."""
    from torch.nn import functional

    return float(functional.cosine_similarity(embeddings[:1], embeddings[1:])[0])
