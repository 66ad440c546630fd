"""Folders known by their DVC md5."""

import multiprocessing
import shutil
from pathlib import Path

import pytest

from orchestration.settings import Settings
from orchestration.store import Store, StoreError, pointed_md5
from tests.orchestration.conftest import make_project


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store.of(settings)


def write(store: Store, asset: str, text: str, character: str | None = None) -> str:
    with store.writing(asset, character) as out:
        (out / "content.txt").write_text(text)
    return store.add(store.folder(asset, character))


def test_the_pointer_holds_the_md5_that_add_returns(store: Store) -> None:
    md5 = write(store, "encoder", "weights", "embedded")
    assert md5.endswith(".dir")
    assert pointed_md5(store.root / "artifacts" / "encoder" / "embedded") == md5


def test_md5_depends_on_content_alone(store: Store, tmp_path: Path) -> None:
    first = write(store, "faces", "same")
    assert write(store, "pairs", "same") == first
    assert write(store, "faces", "changed") != first
    assert write(store, "faces", "same") == first


def test_md5_of_an_untracked_folder_is_the_one_that_add_gives(store: Store) -> None:
    before = store.md5(store.root / "data" / "photos")
    with store.writing("copy") as out:
        shutil.copytree(store.root / "data" / "photos", out, dirs_exist_ok=True)
    assert store.add(store.folder("copy")) == before


def test_an_older_version_comes_back_by_md5_alone(store: Store) -> None:
    old = write(store, "faces", "old")
    write(store, "faces", "new")
    assert (store.fetch("faces", old) / "content.txt").read_text() == "old"


def test_fetch_pulls_from_the_remote_when_folder_cache_and_pointer_are_gone(store: Store) -> None:
    md5 = write(store, "faces", "kept in the remote")
    shutil.rmtree(store.root / "artifacts")
    shutil.rmtree(store.home / "cache")
    assert (store.fetch("faces", md5) / "content.txt").read_text() == "kept in the remote"


def test_fetch_undoes_a_change_by_hand(store: Store) -> None:
    md5 = write(store, "faces", "as made")
    (store.folder("faces") / "content.txt").write_text("changed by hand")
    assert (store.fetch("faces", md5) / "content.txt").read_text() == "as made"


def test_what_nobody_has_is_an_error_and_leaves_folder_and_pointer_alone(store: Store) -> None:
    md5 = write(store, "faces", "here")
    with pytest.raises(StoreError, match="neither in the cache nor in the remote"):
        store.fetch("faces", "0" * 32 + ".dir")
    assert pointed_md5(store.folder("faces")) == md5
    assert (store.folder("faces") / "content.txt").read_text() == "here"


def test_a_failed_write_leaves_the_old_version(store: Store) -> None:
    write(store, "faces", "whole")
    with pytest.raises(RuntimeError), store.writing("faces") as out:
        (out / "content.txt").write_text("half")
        raise RuntimeError
    assert (store.folder("faces") / "content.txt").read_text() == "whole"
    assert not list((store.root / "artifacts").glob(".*.partial"))


def add_one(root: Path, number: int) -> None:
    write(Store.of(Settings(root=root)), "pairs", f"character {number}", f"c{number}")


def test_parallel_writers_lose_no_pointer(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    make_project(root, "embedded")
    context = multiprocessing.get_context("forkserver")
    writers = [context.Process(target=add_one, args=(root, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
    assert [writer.exitcode for writer in writers] == [0] * 4
    pointers = sorted(path.name for path in (root / "artifacts" / "pairs").glob("*.dvc"))
    assert pointers == [f"c{number}.dvc" for number in range(4)]
