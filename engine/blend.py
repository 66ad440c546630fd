"""Slider values to the vertices of the base mesh."""

import numpy as np
from numpy.typing import NDArray

from engine.head import ACTION, ANCESTRIES, MACRO, Head
from engine.lids import BLINKS, Openness
from engine.schema import Schema


class MorphBlend:
    """Slider values to base vertices: one linear morph for each direction of a slider, products for the phenotypes."""

    def __init__(self, head: Head, schema: Schema) -> None:
        self.template = head.template.reshape(-1)
        self.schema = schema
        self.up, self.up_columns = self._drivers(head, [s.positive for s in schema.local])
        self.down, self.down_columns = self._drivers(head, [s.negative for s in schema.local])
        macros = [head.morph_index[name] for name in head.morph_names if name.startswith(MACRO)]
        actions = [head.morph_index[name] for name in head.morph_names if name.startswith(ACTION)]
        self.actions = {head.morph_names[m].removeprefix(ACTION): number for number, m in enumerate(actions)}
        used = [*self.up_columns, *self.down_columns, *macros, *actions]
        self.morphs = head.morphs[used].reshape(len(used), -1)
        self.openness = Openness(head, head.morphs[used[: -len(actions)]])
        self.blinks = [self.actions[name] for name in BLINKS]

    @staticmethod
    def _drivers(head: Head, morphs: list[tuple[str, ...]]) -> tuple[NDArray[np.int64], list[int]]:
        """For each morph that some slider drives: the number of that slider among the local ones."""
        pairs = [(number, head.morph_index[name]) for number, names in enumerate(morphs) for name in names]
        return np.array([number for number, _ in pairs], dtype=np.int64), [column for _, column in pairs]

    def __call__(self, sliders: NDArray[np.float32], expression: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sliders [B, S] and action weights [B, A] to vertices [B, V, 3]."""
        n_phenotypes = len(self.schema.phenotypes)
        neutral = np.array([s.neutral for s in self.schema.local], dtype=np.float32)
        offset = sliders[:, n_phenotypes:] - neutral
        reach = np.array([s.reach for s in self.schema.local], dtype=np.float32)
        up = reach * np.maximum(offset, 0.0) / np.maximum(1.0 - neutral, 1e-6)
        down = reach * np.maximum(-offset, 0.0) / np.maximum(neutral, 1e-6)
        shape = np.concatenate([up[:, self.up], down[:, self.down], self.macro_weights(sliders)], axis=1)
        weights = np.concatenate([shape, expression], axis=1, dtype=np.float32)
        weights[:, [shape.shape[1] + blink for blink in self.blinks]] *= self.openness(shape)
        return np.asarray(self.template + weights @ self.morphs, np.float32).reshape(len(sliders), -1, 3)

    def macro_weights(self, sliders: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weights [B, 24] of the macro morphs: products of ancestry, sex, age and weight, as MakeHuman blends them."""
        index = self.schema.slider_index
        shares = sliders[:, [index["african"], index["asian"], index["european"]]]
        total = shares.sum(axis=1, keepdims=True)
        shares = np.where(total > 1e-6, shares / np.maximum(total, 1e-6), 1.0 / len(ANCESTRIES))
        male, old = (sliders[:, index[name]] for name in ("sex", "age"))
        sexes, ages = np.stack([1 - male, male], 1), np.stack([1 - old, old], 1)
        faces = np.einsum("na,ns,ng->nasg", shares, sexes, ages).reshape(len(sliders), -1)
        heavy = sliders[:, index["weight"]] if "weight" in index else np.full(len(sliders), 0.5, np.float32)
        light, fat = np.maximum(1 - 2 * heavy, 0.0), np.maximum(2 * heavy - 1, 0.0)
        weights = np.stack([light, 1 - light - fat, fat], 1)
        bodies = np.einsum("ns,ng,nw->nsgw", sexes, ages, weights).reshape(len(sliders), -1)
        return np.concatenate([faces, bodies], axis=1).astype(np.float32)
