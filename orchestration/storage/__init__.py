"""Where things are kept: contents by md5 in DVC, versions in Dagster, runs and figures in MLflow."""
