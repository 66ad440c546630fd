"""DVC's repository of a project, opened with our settings, and its way to hash a folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.storage import objects, source_files

if TYPE_CHECKING:
    from dvc.repo import Repo

REMOTE = "likeness"
"""The remote's name in DVC's configuration."""


@contextmanager
def open_repo(root: Path, home: Path, remote: str) -> Iterator[Repo]:
    """The repository of the project in `root`, with its cache in `home` and the remote at this URL."""
    # Its warnings repeat what the errors say.
    for library in ("dvc", "dvc_data", "dvc_objects"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    config: dict[str, Any] = {
        "core": {
            "remote": REMOTE,
            "analytics": False,
            "autostage": False,
            "site_cache_dir": str(home / "dvc"),
            # A project may come without its git repository, and nothing here asks for it.
            "no_scm": True,
        },
        "cache": {"dir": str(home / "cache")},
        "remote": {REMOTE: {"url": remote, "verify": True}},
    }
    with _repo_class()(str(root), config=config) as repo:
        yield repo


@cache
def _repo_class() -> type[Repo]:
    from dvc.repo import Repo
    from dvc.utils.objects import cached_property

    class OwnRepo(Repo):
        @cached_property
        def site_cache_dir(self) -> str:
            """DVC's own is for all users of a machine: it makes folders with the umask taken away, so that anyone may
            write there, and so does whatever thread writes a file meanwhile.
            """
            return str(Path(self.config["core"]["site_cache_dir"]) / "repo")

    return OwnRepo


def build(repo: Repo, folder: Path, dry_run: bool) -> tuple[Any, str, dict[str, str]]:
    """Where the folder's objects are to be taken from, its md5, and its listing (md5 by path)."""
    from dvc.fs import LocalFileSystem
    from dvc_data.hashfile.build import build

    rule = source_files.rule_of(Path(repo.root_dir), folder)
    ignore: Any = source_files.SourceFilter(repo.dvcignore, rule) if rule else source_files.FolderFilter(repo.dvcignore)
    if folder.name.endswith(".partial"):
        # What .dvcignore leaves out of artifacts/ must not leave out staged output, which lies under such a name.
        ignore = None
    staging, _, tree = build(repo.cache.local, str(folder), LocalFileSystem(), "md5", ignore=ignore, dry_run=dry_run)
    return staging, str(tree.hash_info.value), objects.files_of(tree)
