"""Whether making a version cost more than the profile allows: a warning, for what it made is as good as any."""

from __future__ import annotations

from typing import Any

from orchestration.checks.context import CheckContext
from orchestration.checks.gx import ExpectationResult
from orchestration.config.check_rules import Budget
from orchestration.storage.costs import GIGABYTE, Cost

UNITS = {"peak_memory_gb": ("peak_memory_bytes", GIGABYTE), "stored_mb": ("stored_bytes", 1e6)}
"""Names of a budget whose figures are recorded in bytes."""


def evaluate(context: CheckContext) -> tuple[list[ExpectationResult], dict[str, Any]]:
    """A finding for each limit of the stage's budget."""
    cost = Cost.of(context.metrics)
    if cost is None:
        return [], {"reason": "it was taken over, or made before costs were measured"}
    return findings(context.rules.budget[context.stage.name], cost), {}


def findings(budget: Budget, cost: Cost) -> list[ExpectationResult]:
    """What a cost is beside each limit that the budget sets."""
    found = []
    for name, limit in budget.model_dump(exclude_none=True).items():
        figure, unit = UNITS.get(name, (name, 1.0))
        value = getattr(cost, figure) / unit
        found.append(ExpectationResult("cost_keeps_budget", name, value <= limit, f"≤ {limit:g}", f"{value:.4g}"))
    return found
