"""What a registered model was made from comes back and is proved."""

import json
import shutil
from pathlib import Path

import pytest

from orchestration.lineage.photo_index import file_digest
from orchestration.storage import store as store_module
from orchestration.storage.store import Store
from tests.orchestration.faces import Project


def restored(project: Project, out: Path, *arguments: str, status: int = 0) -> dict:
    return json.loads(project("restore", *(arguments or ("production",)), "--out", str(out), "--json", status=status))


def test_every_ancestor_comes_back_proved_with_its_sources(made: Project, tmp_path: Path) -> None:
    document = restored(made, tmp_path / "out")
    names = {stage.name for stage in made.stages} | {"embedded", "photos", "character"}
    assert document["complete"] and {folder["asset"] for folder in document["folders"]} == names
    for folder in document["folders"]:
        assert Store.of(made.settings).md5(tmp_path / "out" / folder["folder"]) == folder["md5"]
    assert json.loads((tmp_path / "out" / "restored.json").read_text()) == document
    assert (tmp_path / "out" / "photos" / "ann" / "one.jpg").read_bytes() == made.pixels("ann/one")


def test_what_comes_back_is_the_restorers_own(project: Project, tmp_path: Path) -> None:
    restored(project, tmp_path / "out", project.md5("imitator")[:8])
    (tmp_path / "out" / "imitator" / "meta.json").write_text("changed")
    assert (Store.of(project.settings).fetch(project.md5("imitator")) / "meta.json").read_text() != "changed"


def test_an_older_version_comes_back_from_the_remote_alone(project: Project, tmp_path: Path) -> None:
    old = project.md5("encoder")
    project.configure(encoder={"steps": 20})
    project.run()
    for name in ("cache", "inputs"):
        shutil.rmtree(project.settings.home / name)
    document = restored(project, tmp_path / "out", "1")
    assert document["complete"]
    assert {folder["asset"]: folder["md5"] for folder in document["folders"]}["encoder"] == old


def test_a_second_restore_leaves_what_is_proved_and_mends_the_rest(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    restored(project, out)
    (out / "restored.json").unlink()
    (out / "encoder").rename(out / ".encoder-1234.partial")
    (out / "photos" / "ann" / "one.jpg").write_bytes(b"tampered")
    statuses = {folder["asset"]: folder["status"] for folder in restored(project, out)["folders"]}
    assert {name for name, status in statuses.items() if status == "restored"} == {"encoder", "photos"}
    assert (out / "photos" / "ann" / "one.jpg").read_bytes() == project.pixels("ann/one")
    assert not list(out.glob(".*"))


def test_lost_bytes_are_named_and_everything_else_comes_back(project: Project, tmp_path: Path) -> None:
    store = Store.of(project.settings)
    store.remove([store.listing(project.md5("encoder"))["model.safetensors"]])
    store.remove([project.md5("imitator")])
    document = restored(project, tmp_path / "out", status=1)
    folders = {folder["asset"]: folder for folder in document["folders"]}
    assert [name for name, folder in folders.items() if not folder["complete"]] == ["encoder", "imitator"]
    assert folders["encoder"]["lost"] == {"model.safetensors": "lost: neither in the cache nor in the remote"}
    assert "gone: encoder/model.safetensors: lost" in project.said and "gone: imitator: lost" in project.said
    assert (tmp_path / "out" / "encoder.incomplete" / "sheet.png").is_file()
    assert not (tmp_path / "out" / "imitator").exists()


def test_damaged_bytes_are_never_taken_for_the_real_ones(project: Project, tmp_path: Path) -> None:
    store = Store.of(project.settings)
    md5 = store.listing(project.md5("encoder"))["model.safetensors"]
    for place in (project.settings.home / "cache", Path(store.remote)):
        file = place / "files" / "md5" / md5[:2] / md5[2:]
        file.chmod(0o644)
        file.write_bytes(b"tampered")
        file.chmod(0o444)
    document = restored(project, tmp_path / "out", status=1)
    (encoder,) = (folder for folder in document["folders"] if folder["asset"] == "encoder")
    assert not encoder["complete"] and not (tmp_path / "out" / "encoder").exists()
    left = list((tmp_path / "out").rglob("encoder*/model.safetensors"))
    assert all(file_digest(path, "md5") == md5 for path in left)


def harm(project: Project, place: Path, md5: str) -> None:
    """Bytes of an object that are not what its name says, write-protected as DVC leaves them."""
    file = place / "files" / "md5" / md5[:2] / md5[2:]
    file.chmod(0o644)
    file.write_bytes(b"tampered")
    file.chmod(0o444)


def test_a_damaged_cache_is_mended_from_the_remote(project: Project, tmp_path: Path) -> None:
    store = Store.of(project.settings)
    harm(project, project.settings.home / "cache", store.listing(project.md5("encoder"))["model.safetensors"])
    assert restored(project, tmp_path / "out")["complete"]


def test_what_is_damaged_in_the_remote_is_called_so_and_not_missing(project: Project, tmp_path: Path) -> None:
    store = Store.of(project.settings)
    md5 = store.listing(project.md5("encoder"))["model.safetensors"]
    harm(project, Path(store.remote), md5)
    (node,) = (node for node in nodes(project) if node["asset"] == "encoder")
    assert node["bytes"] == ["here", "damaged in the remote"]
    store.remove([md5], ("cache",))
    document = restored(project, tmp_path / "out", status=1)
    (encoder,) = (folder for folder in document["folders"] if folder["asset"] == "encoder")
    assert encoder["lost"] == {"model.safetensors": "lost: damaged in the remote"}
    (node,) = (node for node in nodes(project) if node["asset"] == "encoder")
    assert node["bytes"] == ["gone", "damaged in the remote"]


def nodes(project: Project) -> list[dict]:
    return json.loads(project("lineage", "production", "--json"))["nodes"]


def test_a_remote_that_is_down_is_said_so_and_what_is_here_comes_back(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.of(project.settings)
    store.remove(store.listing(project.md5("encoder")).values(), ("cache",))
    monkeypatch.setattr(store_module, "ATTEMPTS", 1)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # discard: nobody answers
    monkeypatch.setenv("LIKENESS_DVC_REMOTE", "s3://likeness/remote")
    document = restored(project, tmp_path / "out", status=1)
    statuses = {folder["asset"]: folder["status"] for folder in document["folders"]}
    assert statuses["encoder"] == "not reachable" and statuses["imitator"] == statuses["photos"] == "restored"
    assert "cannot be used" in project.said


def test_a_folder_with_other_peoples_files_is_refused_untouched(made: Project, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    made("restore", "1", "--out", str(tmp_path), status=1)
    assert "holds other files (thesis.txt)" in made.said
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("word", ["7", "0123456789ab"])
def test_what_is_not_there_is_one_line(made: Project, tmp_path: Path, word: str) -> None:
    made("restore", word, "--out", str(tmp_path / "out"), status=1)
    assert made.said.startswith("error: ") and made.said.count("\n") == 1
