"""Runs: stages as Dagster assets, their order, executors, retries, and retraining without anybody."""
