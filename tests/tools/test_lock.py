"""The locks: exact versions with hashes, of all that the code imports."""

import re
import tomllib

import pytest

from tools.lock import CUDA, LOCK, PIN, ROOT


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda lock: lock.name)
def test_every_version_is_exact_and_has_hashes(lock) -> None:
    packages = re.split(r"^(?=\w)", lock.read_text(), flags=re.MULTILINE)[1:]
    assert len(packages) == len(PIN.findall(lock.read_text()))
    assert [package for package in packages if "--hash=sha256:" not in package] == []


def test_a_lock_names_no_package_index() -> None:
    assert not re.search(r"https?:|-url|--find-links", "".join(lock.read_text() for lock in (LOCK, CUDA)))


BLENDER = "fbx"
"""An extra of 370 MB for one format of files: whoever wants it installs it beside what is locked."""


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_what_the_package_asks_for_is_locked() -> None:
    project = _project()
    extras = {name: asked for name, asked in project.get("optional-dependencies", {}).items() if name != BLENDER}
    asked = [*project["dependencies"], *(one for extra in extras.values() for one in extra)]
    names = {re.match(r"[\w.-]+", one)[0].lower() for one in asked} - {"likeness"}  # type: ignore[index]
    locked = {name.lower() for name, _ in PIN.findall(LOCK.read_text())}
    assert {name.replace("_", "-") for name in names} - {name.replace("_", "-") for name in locked} == set()
