"""Registered models in MLflow: versions, aliases, and the record of who moved which alias, and why."""
