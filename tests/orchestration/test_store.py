"""Folders known by their DVC md5."""

import dataclasses
import errno
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestration.config.settings import REPOSITORY, Settings
from orchestration.pipeline.retry_policy import is_transient
from orchestration.storage import remote as remote_module
from orchestration.storage.push import Pushed
from orchestration.storage.remote import Availability
from orchestration.storage.staged_output import pointed_md5, pointer_of
from orchestration.storage.store import RemoteDown, Store, StoreError
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


@pytest.mark.slow
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
    written, kept = write(store, "faces", "made here"), store.put(store.root / "data" / "photos")
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
    assert store.availability(nobodys) == Availability(here=False, remote=False, lost=True)


def test_a_damaged_object_in_the_remote_is_never_taken(store: Store, tmp_path: Path) -> None:
    md5 = write(store, "faces", "whole")
    (kept,) = objects_of(store, "remote", md5)
    kept.chmod(0o644)
    kept.write_text("damaged")
    other = elsewhere(store, tmp_path / "other")
    with pytest.raises(StoreError, match=r"1 of its files is damaged in the remote .*content.txt.*push --check"):
        other.fetch(md5)
    assert other.availability(md5) == Availability(here=False, remote=False, damaged=True, lost=True)
    assert not list((other.home / "inputs").glob("*"))


def test_a_lost_object_in_the_cache_is_pulled_again(store: Store) -> None:
    md5 = write(store, "faces", "whole")
    objects_of(store, "cache", md5)[0].unlink()
    assert store.availability(md5) == Availability(here=False, remote=True)
    assert content(store.fetch(md5)) == "whole"
    assert store.availability(md5) == Availability(here=True, remote=True)


@pytest.mark.slow
def test_a_remote_that_is_down_is_named_and_keeps_no_half_version(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_module, "ATTEMPTS", 1)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # discard: nobody answers
    down = dataclasses.replace(store, remote="s3://likeness/remote")
    with pytest.raises(RemoteDown, match=r"the remote s3://likeness/remote cannot be used .*LIKENESS_DVC_REMOTE"):
        write(down, "faces", "made")
    assert not down.folder("faces").exists() and not pointer_of(down.folder("faces")).exists()


@pytest.mark.parametrize(
    ("place", "error", "said"),
    [("cache", OSError, "No space left on device"), ("remote", RemoteDown, "make room on the disk that is named")],
)
def test_a_full_disk_is_named_and_not_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, place: str, error: type[Exception], said: str
) -> None:
    full, tried = Path(store.remote) if place == "remote" else store.home / "cache", list[str]()

    def copyfile(source: str, target: str, **options: Any) -> None:
        if Path(target).is_relative_to(full):
            tried.append(target)
            raise OSError(errno.ENOSPC, "No space left on device", target)
        shutil.copyfile(source, target)

    monkeypatch.setattr("dvc_objects.fs.local.copyfile", copyfile)
    with pytest.raises(error, match=said) as failed:
        write(store, "faces", "made")
    assert not is_transient(failed.value) and len(tried) == 1 and tried[0] in str(failed.value)


def test_a_file_that_is_deleted_while_its_folder_is_kept_is_worth_another_try(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.root / "data" / "photos"

    def copyfile(source: str, target: str, **options: Any) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", source)

    monkeypatch.setattr("dvc_objects.fs.local.copyfile", copyfile)
    with pytest.raises(OSError, match="photos changed while it was copied") as failed:
        store.put(folder)
    assert is_transient(failed.value)


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
    assert store.availability(going) == Availability(here=False, remote=False, lost=True)
    assert store.availability(staying) == Availability(here=True, remote=True)
    held = store.sizes()
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
    assert (moved.push().copied, moved.push().copied) == (2, 0)
    assert moved.availability(md5) == Availability(here=True, remote=True)


def lose(store: Store, place: str, md5: str) -> Path:
    """A file of the folder, gone from cache or remote."""
    (lost,) = objects_of(store, place, md5)
    lost.unlink()
    return lost


def damage(store: Store, place: str, md5: str, content: str = "harmed") -> Path:
    """A file of the folder, damaged in cache or remote and write-protected as DVC leaves it."""
    (harmed,) = objects_of(store, place, md5)
    harmed.chmod(0o644)
    harmed.write_text(content)
    harmed.chmod(0o444)
    return harmed


def test_what_the_remote_lost_is_pushed_again_though_it_has_the_listing(store: Store) -> None:
    md5 = write(store, "faces", "whole")
    lost = lose(store, "remote", md5)
    assert store.availability(md5) == Availability(here=True, remote=False)
    assert store.push() == Pushed(copied=1)
    assert lost.read_text() == "whole" and store.push() == Pushed()


def test_what_the_remote_lost_comes_back_with_the_next_writing_of_the_same(store: Store) -> None:
    md5 = write(store, "faces", "whole")
    lose(store, "remote", md5)
    assert write(store, "faces", "whole") == md5
    assert store.availability(md5).remote


def test_what_is_nowhere_is_lost_and_what_is_somewhere_is_not(store: Store) -> None:
    md5 = write(store, "faces", "whole")
    lose(store, "cache", md5)
    assert not store.is_lost(md5)
    lose(store, "remote", md5)
    assert store.is_lost(md5)
    with pytest.raises(StoreError, match="1 of its files is neither in the cache nor in the remote"):
        store.fetch(md5)


def test_a_folder_half_here_and_half_in_the_remote_is_not_lost(store: Store) -> None:
    with store.writing("faces") as draft:
        for name in "ab":
            (draft.folder / name).write_text(name)
    one, other = objects_of(store, "cache", draft.md5), objects_of(store, "remote", draft.md5)
    one[0].unlink()
    other[1].unlink()
    assert store.availability(draft.md5) == Availability(here=False, remote=False, lost=False)
    assert not store.is_lost(draft.md5)
    assert (store.fetch(draft.md5) / "a").read_text() == "a"


def test_a_push_that_checks_replaces_what_is_damaged_in_the_remote(store: Store) -> None:
    md5 = write(store, "faces", "whole!")
    harmed = damage(store, "remote", md5)
    assert store.availability(md5) == Availability(here=True, remote=False, damaged=True)
    assert store.push(check=True) == Pushed(replaced=1)
    assert harmed.read_text() == "whole!"
    assert store.availability(md5) == Availability(here=True, remote=True)


def test_any_push_replaces_what_was_cut_short_in_the_remote(store: Store) -> None:
    md5 = write(store, "faces", "whole")
    harmed = damage(store, "remote", md5, "wh")
    assert store.push() == Pushed(replaced=1) and harmed.read_text() == "whole"


def test_a_damaged_listing_in_the_remote_is_replaced_too(store: Store) -> None:
    md5 = write(store, "faces", "whole")
    listing = Path(store.remote) / "files" / "md5" / md5[:2] / md5[2:]
    good = listing.read_text()
    listing.chmod(0o644)
    listing.write_text("[]")
    assert store.push(check=True) == Pushed(replaced=1) and listing.read_text() == good


def test_a_push_says_what_it_cannot_mend_and_spreads_no_damage(store: Store) -> None:
    md5 = write(store, "faces", "whole")
    (oid,) = store.listing(md5).values()
    harmed = damage(store, "cache", md5)
    lose(store, "remote", md5)
    assert store.push().lost == {oid: "damaged in this machine's cache, not in the remote"}
    assert harmed.exists() and not store.availability(md5).remote
    assert store.push(check=True).lost == {oid: "damaged in this machine's cache, not in the remote"}
    assert store.push(check=True).lost == {oid: "neither in this machine's cache nor in the remote"}
    assert store.is_lost(md5)


def test_damaged_on_both_sides_is_named_and_a_damaged_cache_is_mended_from_a_good_remote(store: Store) -> None:
    both, here = write(store, "faces", "whole!"), write(store, "pairs", "sound!")
    damage(store, "cache", here)
    for place in ("cache", "remote"):
        damage(store, place, both)
    (oid,) = store.listing(both).values()
    assert store.push(check=True) == Pushed(lost={oid: "damaged in the remote, damaged in this machine's cache"})
    assert content(store.fetch(here)) == "sound!"


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_nothing_in_the_home_folder_is_open_to_everyone(tmp_path: Path, umask: int) -> None:
    root = tmp_path / "project"
    root.mkdir()
    make_project(root, "embedded")
    code = "import sys; from tests.orchestration.test_store import write_one; write_one(sys.argv[1], 1)"
    subprocess.run([sys.executable, "-c", code, root], cwd=REPOSITORY, check=True, umask=umask)
    home = root / ".likeness"
    # Objects can be read by all who can enter the folder: DVC's way of protecting them.
    rights = {path: 0o777 if path.is_dir() else 0o222 for path in (home, *home.rglob("*"))}
    assert [path for path, asked in rights.items() if path.stat().st_mode & asked & umask] == []


def write_one(root: Path, number: int) -> None:
    write(Store.of(Settings(root=root)), "pairs", f"character {number}", f"c{number}")


@pytest.mark.slow
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


@pytest.mark.slow
def test_parallel_readers_of_one_version_all_get_it(store: Store, tmp_path: Path) -> None:
    md5 = write(store, "faces", "wanted by many")
    context = multiprocessing.get_context("forkserver")
    readers = [context.Process(target=fetch_one, args=(store.root, md5)) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(timeout=120)
    assert [reader.exitcode for reader in readers] == [0] * 4
