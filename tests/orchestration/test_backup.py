"""A project whose machine is lost goes on elsewhere from its backup, and what was forgotten stays forgotten."""

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.errors import LikenessError
from orchestration.apps import backup, restore_backup
from orchestration.apps.backup_format import MANIFEST, BackupError, Manifest
from orchestration.cli.main import app
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.lineage.prune import nothing_runs
from orchestration.storage import snapshots
from orchestration.storage.backup_log import ERASURES
from orchestration.storage.erasure_log import Erasure, ErasureLog, now, read_entries
from orchestration.storage.instance import AlreadyRunning, keeping_files, open_instance
from orchestration.storage.postgres import DatabaseError
from orchestration.storage.store import Store
from orchestration.storage.tracking import Tracking
from serving.character_store import Caller, CharacterStore
from serving.configuration import ServiceSettings
from serving.keys import Keys
from tests.orchestration.faces import PeopleProject
from tests.serving import support

pytestmark = pytest.mark.slow
SERVICE = ServiceSettings()


def make(project: PeopleProject, folder: Path, **options: Any) -> Manifest:
    return backup.make(folder, project.settings, SERVICE, **options)


def fresh(root: Path, **options: Any) -> Settings:
    """What a clone of the repository brings."""
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    (root / "profile.yaml").write_text("{}\n")
    return Settings(root=root, device="cpu", profile=str(root / "profile.yaml"), **options)


def restored(folder: Path, root: Path, **options: Any) -> Settings:
    settings = fresh(root)
    done = restore_backup.restore(folder, settings, SERVICE, **options)
    assert done.problems == []
    return settings


def without_places(document: str) -> str:
    """What `lineage --json` says, but for where things are."""
    return json.dumps([{**node, "bytes": None} for node in json.loads(document)["nodes"]])


def test_a_lost_machine_s_project_goes_on_elsewhere(project: PeopleProject, tmp_path: Path) -> None:
    project.configure(encoder={"steps": 20})
    project.run()
    project.register("candidate")
    project("promote", "candidate", "--force", "--why", "sharper")
    told = [project("lineage", "production", "--json"), project("models", "--json")]
    make(project, tmp_path / "backup")
    profile = Path(project.settings.profile).read_text()
    project.instance.dispose()
    shutil.rmtree(project.settings.root)

    settings = restored(tmp_path / "backup", tmp_path / "elsewhere")
    Path(settings.profile).write_text(profile)
    with open_instance(settings) as instance:
        again = PeopleProject(settings, instance)
        again.configure(encoder={"steps": 20})
        assert again.run() == [], "everything is up to date"
        assert without_places(again("lineage", "production", "--json")) == without_places(told[0])
        assert json.loads(again("models", "--json")) == json.loads(told[1])
        again("restore", "1", "--out", str(tmp_path / "data"))
        assert (settings.root / "artifacts" / "encoder" / "embedded" / "model.safetensors").is_file()
        nodes = json.loads(again("lineage", "production", "--json"))["nodes"]
        assert all(node["bytes"] == ["here", "remote"] for node in nodes)
        assert json.loads(again("rollback", "--why", "complaints", "--json"))["now"] == 1
        again.configure(encoder={"steps": 30})
        assert "encoder/embedded" in again.run()


def test_the_model_in_production_is_loaded_after_the_command_line_brought_it_back(tmp_path: Path) -> None:
    original = Settings(root=tmp_path / "original")
    shutil.copytree(support.EMBEDDED, original.characters / "embedded")
    fresh(original.root)
    with open_instance(original):
        support.registered(original.home, 1)

    def call(root: Path, *arguments: str, status: int = 0) -> Any:
        done = CliRunner(env={"LIKENESS_ROOT": str(root)}).invoke(app, [*arguments, "--json"])
        assert done.exit_code == status, f"{done.output}\n{done.exception!r}"
        return json.loads(done.stdout)

    made = call(original.root, "backup", str(tmp_path / "backup"))
    assert made["files"] > 5 and made["mlflow"] and made["left_out"] == {}
    shutil.rmtree(original.root)
    settings = fresh(tmp_path / "elsewhere")
    shutil.copytree(support.EMBEDDED, settings.characters / "embedded")  # as a clone has it
    said = call(settings.root, "restore-backup", str(tmp_path / "backup"))
    (model,) = (each for each in said["diagnoses"] if "version 1 is in production, loaded in" in each["detail"])
    assert model["level"] == "ok" and said["replaced"] == "" and said["problems"] == []
    shutil.rmtree(settings.model_files / "models")
    made = call(settings.root, "backup", str(tmp_path / "later"))
    assert list(made["missing"]) == ["likeness-embedded/1"]
    said = call(settings.root, "restore-backup", str(tmp_path / "later"), "--replace")
    assert "the files of version 1 are gone" in said["missing"]["likeness-embedded/1"] and said["problems"] == []


def lose(settings: Settings, oid: str) -> None:
    for place in ("cache", "remote"):
        (settings.home / place / "files" / "md5" / oid[:2] / oid[2:]).unlink()


@pytest.mark.parametrize("written_before", [False, True])
def test_what_was_gone_before_the_backup_is_named_and_all_else_comes_back(
    project: PeopleProject, tmp_path: Path, written_before: bool
) -> None:
    """Also where the backup is one of earlier versions, which did not look."""
    encoder = project.md5("encoder")
    lose(project.settings, encoder)
    warned = json.loads(project("backup", str(tmp_path / "backup"), "--json"))
    assert warned["missing"] == {encoder: "encoder of likeness-embedded version 1"}
    if written_before:
        made = Manifest.read(tmp_path / "backup")
        made.missing = None
        made.write(tmp_path / "backup")
    shutil.rmtree(project.settings.root)
    project.settings = fresh(tmp_path / "elsewhere")
    (project.settings.characters / "embedded").mkdir(parents=True)
    done = restore_backup.restore(tmp_path / "backup", project.settings, SERVICE)
    assert list(done.missing) == [encoder]
    assert ("encoder/embedded: the data with md5" if written_before else "encoder of likeness") in done.missing[encoder]
    assert done.problems == []
    assert (project.settings.root / "artifacts" / "scorecard" / "embedded" / "scorecard.html").is_file()


def test_what_a_restore_loses_is_a_problem_all_the_same(project: PeopleProject, tmp_path: Path) -> None:
    """Data that was there when the backup was made, in a remote that does not have it any more."""
    remote = tmp_path / "bucket"
    shutil.move(project.settings.home / "remote", remote)
    settings = project.settings.model_copy(update={"dvc_remote": str(remote)})
    made = backup.make(tmp_path / "backup", settings, SERVICE)
    assert made.missing == {} and made.left_to_remote
    encoder = project.md5("encoder")
    (remote / "files" / "md5" / encoder[:2] / encoder[2:]).unlink()
    done = restore_backup.restore(tmp_path / "backup", fresh(tmp_path / "elsewhere", dvc_remote=str(remote)), SERVICE)
    assert done.missing == {} and any(encoder in problem for problem in done.problems)


def test_what_is_written_meanwhile_is_in_it_whole_or_not_at_all(project: PeopleProject, tmp_path: Path) -> None:
    """Two writers at work: MLflow's database has no half transaction, and every event of Dagster's its version."""
    ended, written = threading.Event(), []
    client = Tracking.of(project.settings).client()
    run = client.create_run(client.create_experiment("busy")).info.run_id

    def write() -> None:
        while not ended.is_set():
            client.log_metric(run, "loss", 0.5, step=len(written))
            written.append(1)
            time.sleep(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(written) < 5:
            time.sleep(0.01)
        before = len(written)
        project.configure(encoder={"steps": 50})
        runs = threading.Thread(target=project.run)
        runs.start()
        make(project, tmp_path / "backup")
        after = len(written)
        runs.join()
    finally:
        ended.set()
        writer.join()
    assert after > before, "nobody waited for the backup"
    settings = restored(tmp_path / "backup", tmp_path / "elsewhere")
    kept = Tracking.of(settings).client().get_metric_history(run, "loss")
    assert before <= len(kept) <= after + 1 and [point.step for point in kept] == list(range(len(kept)))
    with open_instance(settings) as instance:
        again = PeopleProject(settings, instance)
        for asset in ("aligned_faces", "encoder"):
            assert Store.of(settings).availability(again.md5(asset)).here
        nodes = json.loads(again("lineage", "production", "--json"))["nodes"]
        assert all("here" in node["bytes"] for node in nodes)


def test_a_run_that_was_at_work_is_closed_and_made_anew(project: PeopleProject, tmp_path: Path) -> None:
    (encoder,) = (stage.module for stage in project.stages if stage.name == "encoder")

    def act() -> None:
        make(project, tmp_path / "backup")

    encoder.act = act  # pyright: ignore
    project.run(only="encoder", force=True)
    settings = restored(tmp_path / "backup", tmp_path / "elsewhere")
    with open_instance(settings) as instance:
        assert {run.status.value for run in instance.get_runs()} <= {"SUCCESS", "FAILURE"}
        assert PeopleProject(settings, instance).run() == []


def test_what_was_forgotten_later_does_not_come_back(project: PeopleProject, tmp_path: Path) -> None:
    pixels, other = project.pixels("ann/one"), project.pixels("ann/two")
    make(project, tmp_path / "backup")
    assert (tmp_path / "backup" / "project" / "data" / "photos" / "ann" / "one.jpg").read_bytes() == pixels
    project("forget", "ann/one.jpg", "--yes", "--why", "asked to")
    shutil.rmtree(project.settings.root)
    settings = fresh(tmp_path / "elsewhere")
    done = restore_backup.restore(tmp_path / "backup", settings, SERVICE)
    (told,) = done.erased_again
    assert "ann/one.jpg: forgotten on" in told and "asked to" in told and done.problems == []
    with open_instance(settings) as instance:
        (entry,) = ErasureLog(instance).entries()
        assert entry.done and entry.why == "asked to"
        again = PeopleProject.__new__(PeopleProject)
        again.settings = settings
        assert again.where(pixels) == [] and again.where(other) != []


def test_what_was_forgotten_before_needs_no_second_time(project: PeopleProject, tmp_path: Path) -> None:
    """And a photo that was given again is not erased again."""
    project("forget", "ann/one.jpg", "--yes")
    project.add_photo("ann/one")
    project.run()
    make(project, tmp_path / "backup")
    settings = fresh(tmp_path / "elsewhere")
    assert restore_backup.restore(tmp_path / "backup", settings, SERVICE).erased_again == []
    assert (settings.data / "photos" / "ann" / "one.jpg").read_bytes() == project.pixels("ann/one")


def test_a_backup_on_a_disk_that_was_away_is_told_by_a_newer_one(project: PeopleProject, tmp_path: Path) -> None:
    make(project, tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "away")
    project("forget", "ann/one.jpg", "--yes", "--why", "asked to")
    assert "backups that are not there now" in (project.said + project("forget", "bob/one.jpg", "--yes"))
    make(project, tmp_path / "new")
    settings = restored(tmp_path / "away", tmp_path / "elsewhere", more_erasures=[tmp_path / "new"])
    assert sorted(path.name for path in (settings.data / "photos").rglob("*.jpg")) == ["two.jpg"]
    with pytest.raises(BackupError, match="give --erasures a newer backup"):
        restore_backup.restore(tmp_path / "away", settings, SERVICE, more_erasures=[tmp_path / "none"])


def test_keys_and_served_characters_are_in_it_for_their_owner_alone(project: PeopleProject, tmp_path: Path) -> None:
    keys = Keys(project.settings.home / "serving" / "keys")
    keys.add("game")
    served = CharacterStore(project.settings.home / "serving" / "embedded" / "characters", timedelta(days=1))
    record = served.add({"a": 1}, Caller("game"), b"a photo", "image/jpeg")
    service = ServiceSettings(store=tmp_path / "shared", keys=tmp_path / "studio.keys")
    elsewhere = CharacterStore(tmp_path / "shared", timedelta(days=1)).add({"b": 2}, Caller("game"))
    Keys(tmp_path / "studio.keys").add("other-game")
    backup.make(tmp_path / "backup", project.settings, service)
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    shutil.rmtree(tmp_path / "shared")
    (tmp_path / "studio.keys").unlink()
    settings = fresh(tmp_path / "elsewhere")
    restore_backup.restore(tmp_path / "backup", settings, service)
    again = CharacterStore(settings.home / "serving" / "embedded" / "characters", timedelta(days=1))
    assert again.photo(record.id, Caller("game")) == (b"a photo", "image/jpeg")
    assert CharacterStore(tmp_path / "shared", timedelta(days=1)).read(elsewhere.id).document == {"b": 2}
    assert [key.line() for key in Keys(settings.home / "serving" / "keys").all()] == [key.line() for key in keys.all()]
    assert stat.S_IMODE((settings.home / "serving" / "keys").stat().st_mode) == stat.S_IMODE(keys.path.stat().st_mode)
    assert [key.name for key in Keys(tmp_path / "studio.keys").all()] == ["other-game"]


def test_what_a_remote_elsewhere_has_is_left_to_it(project: PeopleProject, tmp_path: Path) -> None:
    remote = tmp_path / "bucket"
    shutil.move(project.settings.home / "remote", remote)
    settings = project.settings.model_copy(update={"dvc_remote": str(remote)})
    lean = backup.make(tmp_path / "lean", settings, SERVICE)
    whole = backup.make(tmp_path / "whole", settings, SERVICE, with_cache=True)
    assert lean.left_to_remote == whole.left_to_remote + sum(name.startswith("objects/") for name in whole.files) > 9
    with pytest.raises(BackupError, match=r"set LIKENESS_DVC_REMOTE to .*bucket"):
        restore_backup.restore(tmp_path / "lean", fresh(tmp_path / "wrong"), SERVICE)
    there = fresh(tmp_path / "elsewhere", dvc_remote=str(remote))
    assert restore_backup.restore(tmp_path / "lean", there, SERVICE).problems == []
    with open_instance(there) as instance:
        assert PeopleProject(there, instance).run() == []


def test_a_backup_that_fails_or_is_killed_leaves_nothing_that_looks_like_one(
    project: PeopleProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device", "disk")

    with monkeypatch.context() as patch:
        patch.setattr(os, "sync", full)
        with pytest.raises(OSError):
            make(project, tmp_path / "backups" / "1")
    assert list((tmp_path / "backups").iterdir()) == []
    code = "import os, signal, sys\nos.sync = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
    code += f"from orchestration.cli.main import app\napp(['backup', {str(tmp_path / 'backups' / '1')!r}])"
    environment = {**os.environ, "LIKENESS_ROOT": str(project.settings.root), "PYTHONPATH": str(REPOSITORY)}
    killed = subprocess.run([sys.executable, "-c", code], env=environment, cwd=REPOSITORY, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (half,) = (tmp_path / "backups").iterdir()
    assert half.name.endswith(".partial")
    make(project, tmp_path / "backups" / "1")
    assert [path.name for path in (tmp_path / "backups").iterdir()] == ["1"]
    assert not list(project.settings.home.glob(".snapshot-*"))


@pytest.mark.parametrize("harm", ["changed", "deleted", "manifest"])
def test_a_damaged_backup_is_refused_before_anything_is_written(
    project: PeopleProject, tmp_path: Path, harm: str
) -> None:
    made = make(project, tmp_path / "backup")
    victim = tmp_path / "backup" / next(name for name in made.files if name.startswith("objects/"))
    if harm == "changed":
        victim.chmod(0o644)
        victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    elif harm == "deleted":
        victim.unlink()
    else:
        (tmp_path / "backup" / MANIFEST).write_text("{}")
    settings = fresh(tmp_path / "elsewhere")
    before = sorted(settings.root.rglob("*"))
    with pytest.raises(BackupError, match="take another"):
        restore_backup.restore(tmp_path / "backup", settings, SERVICE)
    assert sorted(settings.root.rglob("*")) == before


def test_a_damaged_database_is_not_taken_for_a_sound_one(project: PeopleProject, tmp_path: Path) -> None:
    file = project.settings.home / "mlflow" / "mlflow.db"
    content = bytearray(file.read_bytes())
    content[8192:200_000] = os.urandom(200_000 - 8192)
    file.write_bytes(content)
    with pytest.raises(DatabaseError, match="damaged"):
        make(project, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_a_damaged_object_is_taken_from_the_remote_or_named(project: PeopleProject, tmp_path: Path) -> None:
    oid = project.md5("encoder")
    for place in ("cache", "remote"):
        path = project.settings.home / place / "files" / "md5" / oid[:2] / oid[2:]
        path.chmod(0o644)
        path.write_bytes(b"?")
        left_out = make(project, tmp_path / place).left_out
        assert [name for name in left_out if name.startswith("objects/")] == (
            [] if place == "cache" else [f"objects/{oid[:2]}/{oid[2:]}"]
        )


def test_a_project_that_has_anything_is_left_alone_unless_told(project: PeopleProject, tmp_path: Path) -> None:
    make(project, tmp_path / "backup")
    project.add_photo("carl/one")
    project.configure(encoder={"steps": 99})
    project.run()
    newest = project.md5("encoder")
    with pytest.raises(BackupError, match=r"is not empty .*--replace"):
        restore_backup.restore(tmp_path / "backup", project.settings, SERVICE)
    assert project.md5("encoder") == newest
    done = restore_backup.restore(tmp_path / "backup", project.settings, SERVICE, replace_it=True)
    aside = Path(done.replaced)
    assert (aside / "data" / "photos" / "carl" / "one.jpg").is_file()
    assert (aside / ".likeness" / "mlflow" / "mlflow.db").is_file()
    assert not (project.photos / "carl").exists()
    with open_instance(project.settings) as instance:
        again = PeopleProject(project.settings, instance)
        assert again.md5("encoder") != newest and again.run() == []


def test_what_commands_make_by_looking_is_no_project(project: PeopleProject, tmp_path: Path) -> None:
    make(project, tmp_path / "backup")
    settings = fresh(tmp_path / "elsewhere")
    (settings.characters / "embedded").mkdir(parents=True)
    environment = {"LIKENESS_ROOT": str(settings.root)}
    for command in (["doctor"], ["models"], ["checks"], ["lineage", "production"]):
        CliRunner(env=environment).invoke(app, command)
    with open_instance(settings):
        pass
    assert restore_backup.restore(tmp_path / "backup", settings, SERVICE).replaced == ""


def test_what_another_version_or_another_database_wrote_is_refused(project: PeopleProject, tmp_path: Path) -> None:
    made = make(project, tmp_path / "backup")
    settings = fresh(tmp_path / "elsewhere")
    with pytest.raises(BackupError, match="unset LIKENESS_DATABASE"):
        moved = settings.model_copy(update={"database": "postgresql://studio@127.0.0.1:1/likeness"})
        restore_backup.restore(tmp_path / "backup", moved, SERVICE)
    made.versions["mlflow"] = "99.1"
    made.write(tmp_path / "backup")
    with pytest.raises(BackupError, match=r"mlflow 99\.1, and .* is installed"):
        restore_backup.restore(tmp_path / "backup", settings, SERVICE)
    made.format = 99
    made.write(tmp_path / "backup")
    with pytest.raises(BackupError, match="written by a newer likeness"):
        restore_backup.restore(tmp_path / "backup", settings, SERVICE)


def test_a_place_that_would_be_lost_too_is_refused(project: PeopleProject, tmp_path: Path) -> None:
    for place in (project.settings.home / "backup", project.photos / "backup"):
        with pytest.raises(BackupError, match="is lost with it"):
            make(project, place)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(BackupError, match="is there already"):
        make(project, tmp_path / "full")
    with pytest.raises(BackupError, match="there is nothing in"):
        backup.make(tmp_path / "backup", fresh(tmp_path / "elsewhere"), SERVICE)


def test_an_mlflow_out_of_reach_is_named_or_left_out(project: PeopleProject, tmp_path: Path) -> None:
    settings = project.settings.model_copy(update={"mlflow_uri": "http://mlflow.studio:5000"})
    with pytest.raises(BackupError, match="--without-mlflow"):
        backup.make(tmp_path / "backup", settings, SERVICE)
    assert not backup.make(tmp_path / "backup", settings, SERVICE, without_mlflow=True).mlflow


def test_nothing_is_deleted_while_it_is_made(project: PeopleProject, tmp_path: Path) -> None:
    with keeping_files(project.settings):
        with pytest.raises(AlreadyRunning, match="`likeness backup`"), nothing_runs(project.settings, project.instance):
            pass
        with pytest.raises(AlreadyRunning):
            make(project, tmp_path / "backup")


def test_what_another_machine_erases_while_it_is_made_is_erased_again_by_a_restore(
    project: PeopleProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    erasure, missing = Erasure("1", {}, {}, "tester", now(), "", done=True), backup._missing

    def meanwhile(*about: Any) -> dict[str, str]:
        ErasureLog(project.instance).write(erasure)
        return missing(*about)

    monkeypatch.setattr(backup, "_missing", meanwhile)
    assert make(project, tmp_path / "backup").erased == []
    assert [entry.id for entry in read_entries(tmp_path / "backup" / ERASURES)] == ["1"]


def test_a_folder_behind_a_link_is_in_it(project: PeopleProject, tmp_path: Path) -> None:
    elsewhere = Path(shutil.move(project.photos / "bob", tmp_path / "bob"))
    (project.photos / "bob").symlink_to(elsewhere)
    (project.photos / "loop").symlink_to(project.photos)
    made = make(project, tmp_path / "backup")
    assert "project/data/photos/bob/one.jpg" in made.files
    assert list(made.left_out) == ["project/data/photos/loop"]


def test_a_database_that_is_written_to_is_copied_at_one_moment(tmp_path: Path) -> None:
    """Its log (WAL) holds what the file itself does not have yet."""
    with closing(sqlite3.connect(tmp_path / "live.db")) as live:
        live.execute("PRAGMA journal_mode = WAL")
        live.execute("CREATE TABLE t (x)")
        live.commit()
        live.execute("INSERT INTO t VALUES (1)")
        live.commit()
        live.execute("INSERT INTO t VALUES (2)")  # not committed
        snapshots.copy_sqlite(tmp_path / "live.db", tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT x FROM t").fetchall() == [(1,)]
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.db"]


def test_erasures_that_cannot_be_read_are_an_error(project: PeopleProject, tmp_path: Path) -> None:
    make(project, tmp_path / "backup")
    (tmp_path / "backup" / ERASURES).write_text("[{]")
    settings = fresh(tmp_path / "elsewhere")
    with pytest.raises(LikenessError, match="is no list of what was forgotten"):
        restore_backup.restore(tmp_path / "backup", settings, SERVICE)
    (tmp_path / "backup" / ERASURES).unlink()
    with pytest.raises(BackupError, match="is gone, which says what was forgotten"):
        restore_backup.restore(tmp_path / "backup", settings, SERVICE)
