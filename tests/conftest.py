"""Shared by all tests: no phoning home, one thread for torch, and what a test needs is named when it is missing."""

import orchestration  # noqa: F401  (its switches must be set before any library that phones home is imported)
