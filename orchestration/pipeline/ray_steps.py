"""dagster-ray's executor, but one that does not wait for ever for a job server that went away for good."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dagster as dg
from dagster_ray import ray_executor

from orchestration.storage.dagster_internals import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
)

PATIENCE = 60.0
"""Seconds that a job server may be away, as when its head is restarted, before its steps count as lost."""


class PatientHandler(StepHandler):
    """Starts and watches steps as another handler does; a server that is silent for too long fails them."""

    def __init__(self, handler: StepHandler, patience: float = PATIENCE) -> None:
        super().__init__()
        self.handler, self.patience = handler, patience
        self.silent_since: float | None = None

    @property
    def name(self) -> str:
        return self.handler.name

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        yield from self.handler.launch_step(step_handler_context)

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        try:
            health = self.handler.check_step_health(step_handler_context)
        except OSError as error:  # what `requests` raises is one
            self.silent_since = self.silent_since or time.monotonic()
            silent = time.monotonic() - self.silent_since
            if silent < self.patience:
                return CheckStepHealthResult.healthy()
            return CheckStepHealthResult.unhealthy(
                f"Ray's job server has not answered for {silent:.0f} seconds ({type(error).__name__}): "
                f"start it again, then run again"
            )
        self.silent_since = None
        return health

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        yield from self.handler.terminate_step(step_handler_context)


@dg.executor(
    name="ray",
    config_schema=ray_executor.config_schema.as_field(),
    requirements=dg.multiple_process_executor_requirements(),
)
def patient_ray_executor(init_context: dg.InitExecutorContext) -> dg.Executor:
    """`dagster_ray.ray_executor` with a handler that is patient, but not for ever."""
    make = ray_executor.executor_creation_fn
    assert make is not None
    made = make(init_context)
    assert isinstance(made, StepDelegatingExecutor)
    made._step_handler = PatientHandler(made._step_handler)
    return made
