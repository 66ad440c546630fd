"""dagster.yaml: written, brought up to date while it is ours, left alone when it is not."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from orchestration.config.settings import Settings
from orchestration.storage.instance import InstanceError, write_config
from orchestration.storage.postgres import in_schema

URL = "postgresql://studio@db.studio:5433/likeness"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dagster.yaml"


def test_the_storage_follows_the_setting_while_nobody_else_wrote_the_file(file: Path) -> None:
    write_config(file, Settings())
    plain = file.read_text()
    write_config(file, Settings(database=URL))
    assert yaml.safe_load(file.read_text())["storage"]["postgres"]["postgres_url"] == URL.replace("://", "+psycopg2://")
    write_config(file, Settings())
    assert file.read_text() == plain and "storage" not in yaml.safe_load(plain)


def test_a_file_that_somebody_changed_stays_as_it_is(file: Path) -> None:
    write_config(file, Settings())
    own = file.read_text() + "retention: {}\n"
    file.write_text(own)
    write_config(file, Settings())
    assert file.read_text() == own
    with pytest.raises(InstanceError, match="is your own: remove it, or add to it\nstorage:\n  postgres:"):
        write_config(file, Settings(database=URL))
    assert file.read_text() == own


def test_a_storage_of_ones_own_is_taken(file: Path) -> None:
    own = "storage:\n  postgres:\n    postgres_url: {env: ELSEWHERE}\n"
    file.write_text(own)
    write_config(file, Settings(database=URL))
    assert file.read_text() == own


def test_mlflow_has_a_schema_of_its_own_in_the_same_database() -> None:
    assert Settings(database=URL).tracking_uri == (
        "postgresql+psycopg2://studio@db.studio:5433/likeness?options=-csearch_path%3Dmlflow"
    )
    assert in_schema(f"{URL}?sslmode=require", "mlflow").endswith("?sslmode=require&options=-csearch_path%3Dmlflow")
    assert Settings(database=URL, mlflow_uri="http://mlflow:5000").tracking_uri == "http://mlflow:5000"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://studio@db/likeness", "expected postgresql://user@host/database"),
        ("postgresql://studio@db", "expected postgresql://user@host/database"),
        ("postgresql://studio:secret@db/likeness", "PGPASSWORD or ~/.pgpass"),
    ],
)
def test_a_database_that_cannot_be_meant_is_refused(url: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Settings(database=url)
