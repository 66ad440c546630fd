"""Folders known by their DVC md5."""

import dataclasses
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

from orchestration import store as store_module
from orchestration.settings import Settings
from orchestration.store import Availability, RemoteDown, Store, StoreError, pointed_md5, pointer_of
from tests.orchestration.conftest import make_project


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store.of(settings)


def write(store: Store, asset: str, text: str, character: str | None = None) -> str:
    with store.writing(asset, character) as draft:
        (draft.folder / "content.txt").write_text(text)
    return draft.md5


def content(folder: Path) -> str:
    return (folder / "content.txt").read_text()


def elsewhere(store: Store, root: Path) -> Store:
    """The same remote, seen from a machine that has nothing else."""
    root.mkdir()
    return dataclasses.replace(Store.of(make_project(root, "embedded")), remote=store.remote)


def objects_of(store: Store, place: str, md5: str) -> list[Path]:
    """The files of a folder's content in cache or remote."""
    folder = Path(store.remote) if place == "remote" else store.home / "cache"
    return [folder / "files" / "md5" / oid[:2] / oid[2:] for oid in store.listing(md5).values()]


def test_the_pointer_holds_the_md5_that_writing_gives(store: Store) -> None:
    md5 = write(store, "encoder", "weights", "embedded")
    assert md5.endswith(".dir")
    assert pointed_md5(store.root / "artifacts" / "encoder" / "embedded") == md5


def test_the_pointer_is_the_one_that_dvc_writes(store: Store) -> None:
    from dvc.repo import Repo

    write(store, "encoder", "weights", "embedded")
    pointer = pointer_of(store.folder("encoder", "embedded"))
    ours = pointer.read_text()
    with Repo(str(store.root), config={"core": {"site_cache_dir": str(store.home / "dvc")}}) as repo:
        repo.add(str(store.folder("encoder", "embedded")))  # pyright: ignore[reportArgumentType]
    assert pointer.read_text() == ours


def test_md5_depends_on_content_alone(store: Store) -> None:
    first = write(store, "faces", "same")
    assert write(store, "pairs", "same") == first
    assert write(store, "faces", "changed") != first
    assert write(store, "faces", "same") == first


def test_md5_of_an_untracked_folder_is_the_one_that_writing_gives(store: Store) -> None:
    before = store.md5(store.root / "data" / "photos")
    with store.writing("copy") as draft:
        shutil.copytree(store.root / "data" / "photos", draft.folder, dirs_exist_ok=True)
    assert draft.md5 == before


def test_an_older_version_comes_back_by_md5_alone(store: Store) -> None:
    old = write(store, "faces", "old")
    write(store, "faces", "new")
    assert content(store.fetch(old)) == "old"
    assert content(store.folder("faces")) == "new"
    assert content(store.checkout("faces", old)) == "old" and pointed_md5(store.folder("faces")) == old


def test_a_machine_that_shares_only_the_remote_gets_what_was_written_and_what_was_kept(
    store: Store, tmp_path: Path
) -> None:
    written, kept = write(store, "faces", "made here"), store.keep(store.root / "data" / "photos")
    other = elsewhere(store, tmp_path / "other")
    assert content(other.fetch(written)) == "made here"
    assert (other.fetch(kept) / "someone" / "content.txt").read_text() == "data/photos/someone"


def test_what_a_reader_has_stays_when_the_asset_is_written_anew(store: Store) -> None:
    reader = store.fetch(write(store, "faces", "old"))
    write(store, "faces", "new")
    assert content(reader) == "old"


def test_what_was_fetched_takes_no_room_of_its_own(store: Store) -> None:
    md5 = write(store, "faces", "linked or shared")
    fetched = store.fetch(md5) / "content.txt"
    (kept,) = objects_of(store, "cache", md5)
    assert fetched.stat().st_ino == kept.stat().st_ino or not os.access(fetched, os.W_OK) or os.geteuid() == 0


def test_a_change_by_hand_in_artifacts_changes_no_version_and_checkout_undoes_it(store: Store) -> None:
    md5 = write(store, "faces", "as made")
    (store.folder("faces") / "content.txt").write_text("changed by hand")
    assert content(store.fetch(md5)) == "as made"
    assert content(store.checkout("faces", md5)) == "as made"


def test_what_nobody_has_is_an_error_and_leaves_folder_and_pointer_alone(store: Store) -> None:
    md5, nobodys = write(store, "faces", "here"), "0" * 32 + ".dir"
    for get in (lambda: store.checkout("faces", nobodys), lambda: store.fetch(nobodys), lambda: store.listing(nobodys)):
        with pytest.raises(StoreError, match="neither in the cache nor in the remote"):
            get()
    assert pointed_md5(store.folder("faces")) == md5
    assert content(store.folder("faces")) == "here"
    assert store.availability(nobodys) == Availability(here=False, remote=False)


def test_a_damaged_object_in_the_remote_is_never_taken(store: Store, tmp_path: Path) -> None:
    md5 = write(store, "faces", "whole")
    (kept,) = objects_of(store, "remote", md5)
    kept.chmod(0o644)
    kept.write_text("damaged")
    other = elsewhere(store, tmp_path / "other")
    with pytest.raises(StoreError, match=r"1 of its files missing or damaged, among them content.txt"):
        other.fetch(md5)
    assert not list((other.home / "inputs").glob("*"))


def test_a_lost_object_in_the_cache_is_pulled_again(store: Store) -> None:
    md5 = write(store, "faces", "whole")
    objects_of(store, "cache", md5)[0].unlink()
    assert store.availability(md5) == Availability(here=False, remote=True)
    assert content(store.fetch(md5)) == "whole"
    assert store.availability(md5) == Availability(here=True, remote=True)


def test_a_remote_that_is_down_is_named_and_keeps_no_half_version(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "ATTEMPTS", 1)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # discard: nobody answers
    down = dataclasses.replace(store, remote="s3://likeness/remote")
    with pytest.raises(RemoteDown, match=r"the remote s3://likeness/remote cannot be used .*LIKENESS_DVC_REMOTE"):
        write(down, "faces", "made")
    assert not down.folder("faces").exists() and not pointer_of(down.folder("faces")).exists()


def test_a_failed_write_leaves_the_old_version(store: Store) -> None:
    write(store, "faces", "whole")
    with pytest.raises(RuntimeError), store.writing("faces") as draft:
        (draft.folder / "content.txt").write_text("half")
        raise RuntimeError
    assert content(store.folder("faces")) == "whole"
    assert not list((store.root / "artifacts").glob(".*.partial"))


def test_removed_objects_are_gone_here_in_the_remote_and_from_what_was_fetched(store: Store) -> None:
    going, staying = write(store, "faces", "going"), write(store, "pairs", "staying")
    folder = store.fetch(going)
    store.fetch(staying)
    freed = store.remove({going, *store.listing(going).values()})
    assert freed > 2 * len("going")
    assert not folder.exists()
    assert store.availability(going) == Availability(here=False, remote=False)
    assert store.availability(staying) == Availability(here=True, remote=True)
    held = store.held()
    assert held["cache"] == held["remote"] and set(held["cache"]) == {staying, *store.listing(staying).values()}


def test_what_was_removed_can_be_kept_again(store: Store) -> None:
    md5 = write(store, "faces", "back")
    store.remove({md5, *store.listing(md5).values()})
    assert write(store, "faces", "back") == md5
    assert store.availability(md5) == Availability(here=True, remote=True)


def test_another_remote_gets_what_the_cache_has(store: Store, tmp_path: Path) -> None:
    md5 = write(store, "faces", "made before the move")
    moved = dataclasses.replace(store, remote=str(tmp_path / "elsewhere"))
    assert not moved.availability(md5).remote
    assert (moved.push(), moved.push()) == (2, 0)
    assert moved.availability(md5) == Availability(here=True, remote=True)


def write_one(root: Path, number: int) -> None:
    write(Store.of(Settings(root=root)), "pairs", f"character {number}", f"c{number}")


def test_parallel_writers_lose_no_pointer(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    make_project(root, "embedded")
    context = multiprocessing.get_context("forkserver")
    writers = [context.Process(target=write_one, args=(root, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
    assert [writer.exitcode for writer in writers] == [0] * 4
    pointers = sorted(path.name for path in (root / "artifacts" / "pairs").glob("*.dvc"))
    assert pointers == [f"c{number}.dvc" for number in range(4)]


def fetch_one(root: Path, md5: str) -> None:
    assert content(Store.of(Settings(root=root)).fetch(md5)) == "wanted by many"


def test_parallel_readers_of_one_version_all_get_it(store: Store, tmp_path: Path) -> None:
    md5 = write(store, "faces", "wanted by many")
    context = multiprocessing.get_context("forkserver")
    readers = [context.Process(target=fetch_one, args=(store.root, md5)) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(timeout=120)
    assert [reader.exitcode for reader in readers] == [0] * 4
