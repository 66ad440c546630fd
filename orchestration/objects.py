"""What lies in a cache or a remote of DVC's: files, and listings of folders ("….dir"), each known by its md5.

`objects` is an object database of DVC's (`HashFileDB`), local or not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvc_data.hashfile.hash_info import HashInfo


def hash_infos(oids: Iterable[str]) -> set[HashInfo]:
    from dvc_data.hashfile.hash_info import HashInfo

    return {HashInfo("md5", oid) for oid in oids}


def files_of(tree: Any) -> dict[str, str]:
    """The md5 of each file by its path, of DVC's own kind of listing."""
    return {"/".join(key): str(oid.value) for key, (_, oid) in tree.as_dict().items()}


def listing(objects: Any, md5: str) -> dict[str, str] | None:
    """A folder's files out of a cache or a remote, None where its listing is not (or not readable) there."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree
    from dvc_objects.errors import ObjectFormatError

    try:
        return files_of(Tree.load(objects, HashInfo("md5", md5)))
    except (FileNotFoundError, ObjectFormatError):
        return None


def is_intact(objects: Any, oid: str) -> bool:
    """Whether the object is there, and its content is what its name says unless it is write-protected."""
    from dvc_objects.errors import ObjectFormatError

    try:
        objects.check(oid)
    except (FileNotFoundError, ObjectFormatError):
        return False
    return True


def sizes(objects: Any) -> dict[str, int]:
    """Bytes of every object by its md5; other programs' files and half uploads are none."""
    try:
        paths = {objects.oid_to_path(oid): oid for oid in objects._list_oids()}
    except FileNotFoundError:
        return {}
    abouts = objects.fs.info(list(paths), return_exceptions=True) if paths else []
    found = zip(paths.values(), abouts, strict=True)
    return {oid: int(about["size"]) for oid, about in found if not isinstance(about, Exception)}


def delete(objects: Any, oids: Collection[str]) -> int:
    """Remove what is there of these; bytes freed."""
    held = sizes(objects)
    there = [oid for oid in oids if oid in held]
    if there:
        objects.fs.remove([objects.oid_to_path(oid) for oid in there])
    return sum(held[oid] for oid in there)
