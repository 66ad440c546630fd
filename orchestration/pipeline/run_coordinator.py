"""Dagster's queue of runs, which notes who started a run on its pages, where a login stands before them.

The login's proxy names the person in the header Remote-User (deploy/login/), and proves by LIKENESS_PROXY_KEY that it
was the proxy: whoever reaches Dagster's port past it can start runs, but in nobody's name. What the daemon starts has
no person, and what it starts for a backfill that one's name, whomever the backfill was said to be of; what it tries
again is still the first one's.
"""

from __future__ import annotations

import hmac

import dagster as dg

from orchestration.config.settings import Settings
from orchestration.storage.dagster_internals import BACKFILL_ID_TAG, QueuedRunCoordinator, SubmitRunContext

PERSON, PROOF = "Remote-User", "X-Likeness-Proxy"
USER_TAG = "user"
"""The promotion of a run that passes the gate is recorded as this person's."""
NOBODY = "not logged in"


class AttributingRunCoordinator(QueuedRunCoordinator):
    """A run that a page asked for gets the tag `user`, whatever it was said to be before."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        key, run = Settings().proxy_key, context.dagster_run
        if key and context.get_request_header("Host") is not None:
            proof, person = (context.get_request_header(name) or "" for name in (PROOF, PERSON))
            verified = hmac.compare_digest(proof.encode(), key.encode())
            self._instance.add_run_tags(run.run_id, {USER_TAG: person if verified and person else NOBODY})
        elif backfill := run.tags.get(BACKFILL_ID_TAG):
            self._instance.add_run_tags(run.run_id, {USER_TAG: f"backfill {backfill}"})
        return super().submit_run(context)
