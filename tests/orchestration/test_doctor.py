"""`likeness doctor` finds what is broken, says what to do about it, changes nothing, and never hangs."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import dagster as dg
import pytest

from orchestration import doctor
from orchestration.config.settings import Settings
from orchestration.doctor import machine, records, servers, stores
from orchestration.doctor.diagnosis import Diagnosis
from orchestration.registry import audit, trial_load
from orchestration.registry.promotion_events import PROMOTION, PromotionEvent, RegistryError, now
from orchestration.registry.registered_models import Registry
from orchestration.storage import old_rows
from orchestration.storage.instance import RUN_TAG
from orchestration.storage.store import Store
from orchestration.storage.tracking import Tracking
from tests.orchestration import dying_child
from tests.orchestration.faces import PeopleProject

pytestmark = pytest.mark.slow


def one(findings: Iterable[Diagnosis], name: str) -> Diagnosis:
    return next(finding for finding in findings if finding.name == name)


def dead_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def make_roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every disk has 100 GB free: the machine's own may be too full."""
    roomy = shutil.disk_usage("/")._replace(free=100 * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: roomy)


def test_a_sound_project_has_no_errors_and_is_left_as_it_was(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listing() -> set[Path]:
        # Databases that are opened put files beside themselves for a moment.
        return {path for path in settings.root.rglob("*") if path.suffix not in (".db-wal", ".db-shm", ".db-journal")}

    make_roomy(monkeypatch)
    before = listing()
    findings = doctor.examine(settings, patience=600.0)
    assert [finding for finding in findings if finding.level == "error" and finding.name != "npm"] == []
    kept = ("/.likeness/dvc/", "/.likeness/computed/")  # what may be deleted at any time
    assert {path for path in listing() - before if not any(folder in f"{path}/" for folder in kept)} == set()


def test_a_check_that_hangs_or_fails_is_a_finding_and_the_others_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def hangs(settings: Settings) -> list[Diagnosis]:
        answered.wait(600)
        return []

    def fails(settings: Settings) -> list[Diagnosis]:
        raise OSError("input/output error")

    checks = {"slow": hangs, "broken": fails, "data": machine.inputs}
    for name in ("broken", "data"):
        monkeypatch.setitem(doctor.LONGER, name, 600.0)
    findings = doctor.examine(settings, checks, patience=1.0)
    answered.set()
    assert [(finding.name, finding.level) for finding in findings] == [
        ("slow", "warning"),
        ("broken", "error"),
        ("data", "ok"),
        ("characters", "ok"),
    ]
    assert "not known: no answer within 1 s" in findings[0].detail and "input/output error" in findings[1].detail


def test_a_remote_is_written_read_and_left_empty(settings: Settings) -> None:
    remote = Path(settings.remote)
    assert next(iter(stores.remote(settings))).level == "ok", "a remote that the first run makes"
    remote.mkdir()
    (finding,) = stores.remote(settings)
    assert finding.level == "ok" and "wrote, read and deleted" in finding.detail
    assert [path for path in remote.rglob("*") if path.is_file()] == []


def test_a_remote_that_cannot_be_written_is_an_error(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    broken = settings.model_copy(update={"dvc_remote": str(tmp_path / "file")})
    (finding,) = stores.remote(broken)
    assert finding.level == "error" and "LIKENESS_DVC_REMOTE" in finding.remedy


def objects_of(project: PeopleProject, asset: str, place: Path) -> list[Path]:
    """An asset's files, but for its listing, in cache or remote."""
    oids = Store.of(project.settings).listing(project.md5(asset)).values()
    return [place / "files" / "md5" / oid[:2] / oid[2:] for oid in oids]


def test_a_remote_that_lacks_what_production_needs_is_a_warning_that_a_push_mends(project: PeopleProject) -> None:
    assert one(stores.registered(project.settings), "registered data").level == "ok"
    shutil.rmtree(Store.of(project.settings).remote)
    finding = one(stores.registered(project.settings), "registered data")
    assert (finding.level, finding.remedy) == ("warning", "likeness push") and "embedded of" in finding.detail
    project("push")
    assert one(stores.registered(project.settings), "registered data").level == "ok"


def test_a_registered_model_that_lost_files_is_an_error_that_names_it(project: PeopleProject) -> None:
    for place in (project.settings.home / "cache", Path(project.settings.remote)):
        objects_of(project, "production_encoder", place)[0].unlink()
    finding = one(stores.registered(project.settings), "registered data")
    assert finding.level == "error" and "likeness-embedded version 1" in finding.detail


def test_what_a_forgotten_photo_took_along_is_no_fault(project: PeopleProject) -> None:
    project("forget", "ann/one.jpg", "--yes")
    assert one(stores.registered(project.settings), "registered data").level == "ok"


def records_of(project: PeopleProject) -> list[Diagnosis]:
    return list(records.check(project.settings))


def test_registry_records_and_dagster_agree_or_each_disagreement_is_a_line(project: PeopleProject) -> None:
    project("promote", "1", "--force", "--why", "first")
    (sound,) = records_of(project)
    assert sound.level == "ok" and sound.name == "records of likeness-embedded"
    registry = Registry(Tracking.of(project.settings), "embedded")
    client = registry.client
    pending = PromotionEvent(PROMOTION, "1", now(), "anna", "", "1", "9", {}, False, pending=True)
    project.configure(encoder={"steps": 20})
    project.run()
    (unregistered,) = records_of(project)
    assert "the registry has no version of it" in unregistered.detail and "likeness run" in unregistered.remedy
    project.register("candidate")
    client.set_model_version_tag(registry.name, "2", pending.tag, json.dumps(pending.document()))
    client.set_registered_model_alias(registry.name, "previous", "2")
    unfinished, previous = records_of(project)
    assert "begun and never carried out: anna" in unfinished.detail and "promote 2" in unfinished.remedy
    assert "names version 2" in previous.detail and "no version to go back to" in previous.detail
    client.delete_model_version_tag(registry.name, "2", pending.tag)
    client.delete_registered_model_alias(registry.name, "previous")
    lineage = {"model": registry.name, "version": "7"}
    audit.append(project.settings.home, PROMOTION, "carl", lineage)
    (newer,) = records_of(project)
    assert "carl's promotion of version 7" in newer.detail and "restore-backup" in newer.remedy
    (project.settings.home / "audit.jsonl").unlink()
    client.set_model_version_tag(registry.name, "1", "input.encoder", "0" * 32 + ".dir")
    (gap,) = records_of(project)
    assert "no record of encoder that version 1 in production came from" in gap.detail and "--force" in gap.remedy


def test_a_candidate_whose_run_was_erased_is_told(project: PeopleProject) -> None:
    project.configure(encoder={"steps": 20})
    project.run()
    project.register("candidate")
    registry = Registry(Tracking.of(project.settings), "embedded")
    run = str(registry.find("2").run_id)
    old_rows.erase_tracked(project.settings, run)
    found = [each for each in records_of(project) if each.detail.startswith("candidate: ")]
    assert found and "the run of version 2 was erased" in found[0].detail and found[0].remedy


def test_what_is_in_production_is_loaded_in_a_process_that_may_hang_or_die(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(Tracking.of(settings), "embedded")
    monkeypatch.setattr(trial_load, "_load", dying_child.hangs)
    with pytest.raises(RegistryError, match=r"was not loaded within 1 s: .*--no-load"):
        trial_load.load_apart(registry, within=1.0)
    monkeypatch.setattr(trial_load, "_load", dying_child.dies)
    with pytest.raises(RegistryError, match=r"was killed, as the system does where memory is full: .*--no-load"):
        trial_load.load_apart(registry)


def test_a_home_folder_that_is_open_to_everyone_is_a_warning(settings: Settings) -> None:
    (settings.home / "dvc").mkdir(exist_ok=True)
    (settings.home / "dvc").chmod(0o777)
    finding = one(stores.permissions(settings), "permissions")
    assert finding.level == "warning" and finding.remedy == f"chmod -R o-w {settings.home}"


def test_dvcs_own_command_line_means_the_same_stores_after_a_push_and_in_a_moved_project(
    project: PeopleProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project.settings.root
    monkeypatch.setenv("LIKENESS_DVC_REMOTE", str(root / "elsewhere"))
    moved_remote = project.settings.model_copy(update={"dvc_remote": str(root / "elsewhere")})
    local = root / ".dvc" / "config.local"
    local.write_text("[core]\n    checksum_jobs = 3\n")
    finding = one(stores.dvc(moved_remote), "dvc command")
    assert finding.level == "warning" and "likeness push" in finding.remedy
    project("push")
    assert "url = ../elsewhere" in local.read_text() and "checksum_jobs = 3" in local.read_text()
    written = local.stat().st_mtime_ns
    project("push")
    assert local.stat().st_mtime_ns == written
    new = tmp_path / "moved"
    root.rename(new)
    shutil.rmtree(new / ".likeness" / "cache")
    for asked in (("pull",), ("status",), ("status", "--cloud")):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *asked], cwd=new, capture_output=True, text=True, check=True
        )
    assert "in sync" in done.stdout


def test_a_disk_that_is_too_small_for_the_profile_is_an_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_roomy(monkeypatch)
    monkeypatch.setitem(stores.NEEDS, "paper", 1e9)
    findings = list(stores.disk(settings.model_copy(update={"profile": "paper"})))
    assert any(finding.level == "error" and "paper wants" in finding.detail for finding in findings)
    assert all(finding.level == "ok" for finding in stores.disk(settings.model_copy(update={"profile": "smoke"})))


@pytest.mark.parametrize("alive", [True, False])
def test_a_dvc_lock_of_a_dead_process_is_found(settings: Settings, alive: bool) -> None:
    rwlock = settings.root / ".dvc" / "tmp" / "rwlock"
    rwlock.parent.mkdir()
    pid = os.getpid() if alive else dead_process()
    rwlock.write_text(json.dumps({"data": {"write": {"pid": pid, "cmd": "dvc add"}, "read": []}}))
    findings = list(stores.locks(settings))
    assert [finding.level for finding in findings] == ["ok" if alive else "warning"]
    assert alive or findings[0].remedy == f"rm {rwlock}"


def test_files_of_another_user_are_found(settings: Settings) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(settings.home / "mlflow", 12345, 12345)
    finding = one(stores.permissions(settings), "permissions")
    assert finding.level == "warning" and "mlflow" in finding.detail and "chown" in finding.remedy


def test_a_pool_slot_of_a_dead_run_is_found(settings: Settings, instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("device", 1)
    run = instance.add_run(dg.DagsterRun("job", status=dg.DagsterRunStatus.STARTED, tags={RUN_TAG: "true"}))
    storage.claim_concurrency_slot("device", run.run_id, "step")
    finding = one(servers.dagster(settings), "pool device")
    assert finding.level == "warning" and run.run_id[:8] in finding.detail


def test_old_tables_are_found_with_the_command_that_migrates_them(settings: Settings) -> None:
    with sqlite3.connect(settings.dagster_home / "history" / "runs.db") as database:
        database.execute("update alembic_version set version_num = 'da7cd32b690d'")
    finding = one(servers.dagster(settings), "Dagster")
    assert finding.level == "error" and "dagster instance migrate" in finding.remedy


def test_a_dagster_yaml_of_ones_own_that_lacks_what_retraining_needs_is_told(settings: Settings) -> None:
    config = settings.dagster_home / "dagster.yaml"
    config.write_text("telemetry: {enabled: false}\n")
    finding = one(servers.dagster(settings), "dagster.yaml")
    assert finding.level == "warning" and "run_retries" in finding.detail
    assert config.read_text() == "telemetry: {enabled: false}\n"


def test_a_ray_cluster_and_a_database_that_are_down_are_errors_with_a_remedy(settings: Settings) -> None:
    nobody = {
        "executor": "ray",
        "ray_address": "http://127.0.0.1:9",
        "database": "postgresql://me@127.0.0.1:9/likeness",
    }
    away = settings.model_copy(update=nobody)
    ray, database = one(servers.executor(away), "executor"), one(servers.dagster(away), "Dagster")
    assert ray.level == "error" and "no Ray job server answers" in ray.detail and ray.remedy.startswith("start one")
    assert database.level == "error" and database.remedy.startswith("start the server, or correct LIKENESS_DATABASE")


def test_an_mlflow_server_that_is_down_is_an_error_at_once(settings: Settings) -> None:
    began = time.monotonic()
    (finding,) = servers.mlflow(settings.model_copy(update={"mlflow_uri": "http://127.0.0.1:9"}))
    assert finding.level == "error" and "LIKENESS_MLFLOW_URI" in finding.remedy
    assert time.monotonic() - began < 60.0, "MLflow's own retries take minutes"


def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error(settings: Settings) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    finding = one(machine.gpu(settings.model_copy(update={"device": "cuda"})), "LIKENESS_DEVICE")
    assert finding.level == "error"


def test_code_that_came_without_git_is_a_warning_that_says_how_to_name_its_commit(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.storage.versions.git_commit", lambda: "unknown")
    found = one(machine.code(settings), "code")
    assert found.level == "warning" and "no git repository" in found.detail and "LIKENESS_COMMIT" in found.remedy


def test_a_project_whose_path_no_database_address_can_hold_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\?b.*question mark.*rename the folder"):
        Settings(root=tmp_path / "a?b")
