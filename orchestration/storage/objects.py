"""What lies in a cache or a remote of DVC's: files, and listings of folders ("….dir"), each known by its md5.

`objects` is an object database of DVC's (`HashFileDB`), local or not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

READERS = 8
"""Objects that are read at once to prove them: a remote answers each after a while."""


def files_of(tree: Any) -> dict[str, str]:
    """The md5 of each file by its path, of DVC's own kind of listing."""
    return {"/".join(key): str(oid.value) for key, (_, oid) in tree.as_dict().items()}


def listing(objects: Any, md5: str) -> dict[str, str] | None:
    """A folder's files out of a cache or a remote, None where its listing is not there, or damaged."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    if is_damaged(objects, md5):
        return None
    try:
        return files_of(Tree.load(objects, HashInfo("md5", md5)))
    except FileNotFoundError:
        return None


def is_intact(objects: Any, oid: str) -> bool:
    """Whether the object is there, and its content is what its name says unless it is write-protected."""
    from dvc_objects.errors import ObjectFormatError

    try:
        objects.check(oid)
    except (FileNotFoundError, ObjectFormatError):
        return False
    return True


def is_damaged(objects: Any, oid: str, state: Any = None) -> bool:
    """Whether the bytes of an object are not what its name says; of one that is not there, they are not.

    Write protection is no proof, and what is found is left where it is. With `state`, DVC's memory of hashes, a local
    file is read again only where it changed.
    """
    from dvc_data.hashfile.hash import hash_file

    try:
        found = str(hash_file(objects.oid_to_path(oid), objects.fs, "md5", state)[1].value)
    except FileNotFoundError:
        return False
    return found.removesuffix(".dir") != oid.removesuffix(".dir")


def damaged(
    objects: Any, oids: Collection[str], progress: Callable[[int, int], None] = lambda done, total: None
) -> set[str]:
    """Those of these objects whose bytes, all read anew, are not what their names say."""
    wrong: set[str] = set()
    with ThreadPoolExecutor(READERS) as readers:
        for number, (oid, bad) in enumerate(
            zip(oids, readers.map(lambda oid: is_damaged(objects, oid), oids), strict=True), 1
        ):
            wrong |= {oid} if bad else set()
            progress(number, len(oids))
    return wrong


def copy(source: Any, target: Any, oids: Collection[str]) -> None:
    """Copy objects whether the target has them or not; listings last, so that who sees one finds its files.

    The source may also be what `build` found in a folder, whose objects lie in more than one place. Raises OSError, the
    one that it failed for: DVC's own `transfer` keeps that to itself.
    """
    for is_listing in (False, True):
        places: dict[Any, list[Any]] = {}
        for found in (source.get(oid) for oid in oids if oid.endswith(".dir") is is_listing):
            places.setdefault(found.fs, []).append(found)
        for fs, part in places.items():
            paths, part_oids = [found.path for found in part], [found.oid for found in part]
            target.add(paths, fs, part_oids, check_exists=False, verify=False)


def sizes(objects: Any) -> dict[str, int]:
    """Bytes of every object by its md5; other programs' files and half uploads are none."""
    try:
        return sizes_of(objects, list(objects._list_oids()))
    except FileNotFoundError:
        return {}


def sizes_of(objects: Any, oids: Collection[str]) -> dict[str, int]:
    """Bytes of those of these objects that are there."""
    abouts = objects.fs.info(list(map(objects.oid_to_path, oids)), return_exceptions=True) if oids else []
    return {
        oid: int(about["size"]) for oid, about in zip(oids, abouts, strict=True) if not isinstance(about, Exception)
    }


def delete(objects: Any, oids: Collection[str]) -> int:
    """Remove what is there of these; bytes freed."""
    held = sizes(objects)
    there = [oid for oid in oids if oid in held]
    if there:
        objects.fs.remove([objects.oid_to_path(oid) for oid in there])
    return sum(held[oid] for oid in there)
