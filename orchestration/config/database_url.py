"""LIKENESS_DATABASE as SQLAlchemy wants it: for Dagster in the default schema, for MLflow in one of its own."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode, urlsplit

MLFLOW_SCHEMA = "mlflow"


def engine_url(url: str) -> str:
    """As SQLAlchemy wants it: by itself it would look for a driver that is not installed."""
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)


def in_schema(url: str, schema: str) -> str:
    """The same database for SQLAlchemy, where names without a schema mean this one."""
    parts = urlsplit(engine_url(url))
    options = dict(parse_qsl(parts.query))
    options["options"] = f"{options.get('options', '')} -csearch_path={schema}".strip()
    return parts._replace(query=urlencode(options, quote_via=quote)).geturl()
