"""What Dagster's pages show of a version: pictures, charts, tables."""
