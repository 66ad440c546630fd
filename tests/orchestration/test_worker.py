"""A step on a machine that shares the remote and the servers with the others, and no disk."""

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.pipeline import runner
from orchestration.storage import remote as remote_module
from orchestration.storage.push import Pushed
from orchestration.storage.remote import Availability
from orchestration.storage.store import RemoteDown, Store, StoreError
from orchestration.storage.versions import latest
from tests.orchestration.conftest import make_project, stage
from tests.orchestration.servers import free_port, running, wait_for

pytestmark = pytest.mark.slow

S3_SERVER = REPOSITORY / ".venv-s3" / "bin" / "moto_server"
BUCKET = "likeness"


class S3:
    """A real S3 server that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.log, self.port = folder / "s3.log", free_port()
        self.address = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def up(self) -> Iterator[None]:
        with running([str(S3_SERVER), "-H", "127.0.0.1", "-p", str(self.port)], self.log) as process:
            wait_for(self.address, process, self.log)
            self.client().create_bucket(Bucket=BUCKET)
            yield

    def client(self):
        from botocore.session import get_session

        return get_session().create_client("s3", endpoint_url=self.address, region_name="us-east-1")

    def names(self) -> list[str]:
        return [entry["Key"] for entry in self.client().list_objects_v2(Bucket=BUCKET).get("Contents", [])]


@pytest.fixture
def s3(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> S3:
    if not S3_SERVER.exists():
        pytest.fail(f"{S3_SERVER} is missing: run `make test-integration`, which installs it")
    server = S3(tmp_path_factory.mktemp("s3"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
    return server


def worker(settings: Settings, root: Path) -> Settings:
    """The same project on a machine with an old checkout: no data/, and another character than was recorded."""
    root.mkdir()
    fresh = make_project(root, "embedded", "other")
    shutil.rmtree(root / "data")
    (root / "characters" / "embedded" / "content.txt").write_text("an old checkout")
    return fresh.model_copy(
        update={"sources": "remote", "dvc_remote": settings.remote, "mlflow_uri": settings.tracking_uri}
    )


def make(settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...], **options) -> list[str]:
    return runner.run(settings, instance, stages, Progress(lambda line: None), "embedded", **options).made


def made_by_a_worker(settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...], root: Path) -> None:
    """A run here, a new photo, and the rest of the work there: the result is what this machine would have made."""
    make(settings, instance, stages)
    (settings.data / "photos" / "new.txt").write_text("a new photo")
    assert make(settings, instance, stages, only="faces") == ["faces"]
    there = worker(settings, root)
    assert make(there, instance, stages) == ["encoder/embedded"]
    version = latest(instance, "encoder", "embedded")
    assert version is not None
    here = (Store.of(settings).fetch(version.md5) / "content.txt").read_text()
    assert "a new photo" in here and "an old checkout" not in here and "characters/embedded" in here
    assert make(settings, instance, stages) == []


def test_a_worker_reads_by_md5_what_others_recorded(
    settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...], tmp_path_factory
) -> None:
    made_by_a_worker(settings, instance, stages, tmp_path_factory.mktemp("worker") / "root")


def test_what_was_lost_everywhere_is_made_again_and_what_one_side_has_is_not(
    settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]
) -> None:
    make(settings, instance, stages)
    version, store = latest(instance, "faces"), Store.of(settings)
    assert version is not None
    (oid,) = store.listing(version.md5).values()
    store.remove([oid], ("cache",))
    assert make(settings, instance, stages) == []
    store.fetch(version.md5)
    # Behind the back of whoever notes what the remote has.
    (Path(store.remote) / "files" / "md5" / oid[:2] / oid[2:]).unlink()
    assert make(settings, instance, stages) == []
    shutil.rmtree(settings.home / "cache")
    shutil.rmtree(store.folder("faces"))
    said: list[str] = []
    assert runner.run(settings, instance, stages, Progress(said.append), "embedded").made == ["faces"]
    assert any("neither in the cache nor, undamaged, in the remote: made again" in line for line in said)
    assert store.availability(version.md5) == Availability(here=True, remote=True)
    assert make(settings, instance, stages) == []


def test_a_worker_says_what_was_never_recorded(settings: Settings, instance: dg.DagsterInstance, tmp_path) -> None:
    there = worker(settings, tmp_path / "worker")
    with pytest.raises(runner.StageFailed, match="faces needs photos, which was never made"):
        make(there, instance, (stage("faces", ("photos",)),))


@pytest.mark.integration
def test_a_worker_shares_an_s3_bucket_by_one_setting(
    settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...], s3: S3, tmp_path_factory
) -> None:
    with s3.up():
        in_s3 = settings.model_copy(update={"dvc_remote": f"s3://{BUCKET}/project"})
        made_by_a_worker(in_s3, instance, stages, tmp_path_factory.mktemp("worker") / "root")
        assert s3.names() and {key[:18] for key in s3.names()} == {"project/files/md5/"}
        assert not in_s3.home.joinpath("remote").exists()


@pytest.mark.integration
def test_objects_in_s3_can_be_listed_and_removed(settings: Settings, s3: S3) -> None:
    with s3.up():
        store = dataclasses.replace(Store.of(settings), remote=f"s3://{BUCKET}/project")
        md5 = store.put(settings.data / "photos")
        assert store.sizes()["remote"] == store.sizes()["cache"]
        assert store.availability(md5).remote
        store.remove({md5, *store.listing(md5).values()})
        assert s3.names() == [] and not store.availability(md5).remote


@pytest.mark.integration
def test_what_s3_lost_or_damaged_is_pushed_again(settings: Settings, s3: S3) -> None:
    with s3.up():
        store = dataclasses.replace(Store.of(settings), remote=f"s3://{BUCKET}/project")
        (settings.data / "photos" / "other.txt").write_text("another")
        md5 = store.put(settings.data / "photos")
        lost, harmed = (f"project/files/md5/{oid[:2]}/{oid[2:]}" for oid in store.listing(md5).values())
        s3.client().delete_object(Bucket=BUCKET, Key=lost)
        good = s3.client().get_object(Bucket=BUCKET, Key=harmed)["Body"].read()
        s3.client().put_object(Bucket=BUCKET, Key=harmed, Body=bytes(len(good)))
        assert not store.availability(md5).remote
        assert store.push(check=True) == Pushed(copied=1, replaced=1)
        assert s3.client().get_object(Bucket=BUCKET, Key=harmed)["Body"].read() == good
        assert store.availability(md5) == Availability(here=True, remote=True)
        s3.client().put_object(Bucket=BUCKET, Key=harmed, Body=bytes(len(good)))
        shutil.rmtree(settings.home / "cache")
        with pytest.raises(StoreError, match="1 of its files is damaged in the remote"):
            store.fetch(md5)


@pytest.mark.integration
def test_a_run_goes_on_when_s3_is_back(
    settings: Settings,
    instance: dg.DagsterInstance,
    stages: tuple[Stage, ...],
    s3: S3,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_module, "ATTEMPTS", 2)
    in_s3 = settings.model_copy(update={"dvc_remote": f"s3://{BUCKET}/project"})
    with pytest.raises(RemoteDown, match="cannot be used"):
        make(in_s3, instance, stages)
    with s3.up():
        assert make(in_s3, instance, stages)[-1] == "encoder/embedded"
    (settings.data / "photos" / "new.txt").write_text("a new photo")
    with pytest.raises((RemoteDown, runner.StageFailed), match="cannot be used"):
        make(in_s3, instance, stages)
    with s3.up():
        assert make(in_s3, instance, stages)[-1] == "encoder/embedded"
