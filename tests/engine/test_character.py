"""A character's folder: what draws it, and errors that say what to do."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.character import Character, CharacterError, ExportedPairs, Reference, append_reference
from engine.custom_engine import open_renderer

SLIDERS = """
sliders: [{name: a, part: p, label: A, engine: {name: AA, unit: mm, range: [0, 10]}}]
groups: [{name: g, label: G, choices: [x, y], neutral: x}]
"""
POINTS = tuple((float(10 + k), float(20 + k)) for k in range(5))
# Draws the first parameter as a grey value; what it is told to do wrong, it does wrong.
PROGRAM = """
import csv, sys, time
from pathlib import Path
import cv2, numpy as np
parameters, out, size, fault = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
if fault == "fails": sys.exit("no licence")
if fault == "sleeps": time.sleep(30)
for number, row in enumerate(csv.DictReader(parameters.open())):
    if fault == "forgets" and number == 1: continue
    side = size + number if fault == "grows" else size
    image = np.full((side, side, 3), float(row["AA"]) * 20 + (row["g"] == "y"), np.uint8)
    cv2.imwrite(str(out / row["picture"]), image)
"""
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def written(drawn_by: str, name: str = "mine") -> Path:
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "schema.yaml").write_text(f"name: {name}\nlabel: M\n{drawn_by}\n{SLIDERS}")
        return folder

    return written


def command(fault: str, **options: object) -> str:
    more = "".join(f", {name}: {value}" for name, value in options.items())
    return f'renderer: {{command: ["{{python}}", program.py, "{{parameters}}", "{{out}}", "{{size}}", {fault}]{more}}}'


def drawn(folder: Path, count: int = 3) -> list[np.ndarray]:
    character = Character.load(folder)
    sliders, choices = np.linspace(0, 1, count)[:, None], np.arange(count)[:, None] % 2
    return open_renderer(character)(character.schema.to_engine(sliders, choices), 32)


def test_nothing_said_means_the_embedded_engine(make: Make) -> None:
    assert Character.load(make("")).is_embedded
    assert Character.load(make("renderer: embedded")).is_embedded


def test_exported_pairs_are_no_engine(make: Make) -> None:
    character = Character.load(make("pairs: {table: pairs.csv, pictures: shots}"))
    assert character.source == ExportedPairs(table="pairs.csv", pictures="shots")
    assert not character.has_engine


@pytest.mark.parametrize(
    ("drawn_by", "message"),
    [
        ("pairs: {table: a.csv}\nrenderer: embedded", "both `renderer` and `pairs`"),
        ("pairs: {tabel: a.csv}", r"pairs\.tabel: Extra"),
        ("renderer: blender", "not 'blender'"),
        ("renderer: {python: draw}", r"renderer\.python"),
        ("reference: {size: [10, 10], points: [[1, 1]]}", "needs 5 or 68 entries, not 1"),
        (f"reference: {{points: {[list(p) for p in POINTS]}}}", "needs the `size`"),
        (f"reference: {{size: [8, 8], points: {[list(p) for p in POINTS]}}}", "outside the picture of 8 x 8"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(make: Make, drawn_by: str, message: str) -> None:
    with pytest.raises(CharacterError, match=message):
        Character.load(make(drawn_by))


def test_the_name_must_be_the_folders(make: Make) -> None:
    with pytest.raises(CharacterError, match="`name` is yours, the folder is called mine"):
        Character.load(make("", name="yours")).require_ready()


def test_a_missing_reference_says_who_finds_it(make: Make) -> None:
    with pytest.raises(CharacterError, match="likeness character check"):
        Character.load(make("pairs: {table: a.csv}")).require_reference()


def test_a_found_reference_replaces_the_old_one_and_nothing_else(make: Make) -> None:
    folder = make("# kept\nreference:\n  size: [9, 9]\n# kept too\npairs: {table: a.csv}")
    append_reference(folder, Reference(picture="mean.png", size=(64, 48), points=POINTS))
    character, text = Character.load(folder), (folder / "schema.yaml").read_text()
    assert character.reference == Reference(picture="mean.png", size=(64, 48), points=POINTS)
    assert "# kept\n" in text and "# kept too\npairs: {table: a.csv}" in text and text.count("reference:") == 1
    append_reference(folder, character.reference)
    assert (folder / "schema.yaml").read_text() == text


def test_a_python_function_draws_rows_in_the_engines_units(make: Make) -> None:
    folder = make('renderer: {python: "studio:draw"}')
    (folder / "studio.py").write_text(
        "import numpy as np\n"
        "def draw(rows, size):\n"
        "    return [np.full((size, size, 3), row['AA'] * 20 + (row['g'] == 'y'), np.uint8) for row in rows]\n"
    )
    assert [int(image[0, 0, 0]) for image in drawn(folder)] == [0, 101, 200]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import not_there", "cannot be imported: ModuleNotFoundError"),
        ("", "has no function draw"),
        ("def draw(rows, size): raise RuntimeError('no GPU')", "failed: RuntimeError: no GPU"),
        ("def draw(rows, size): return []", "drew 0 pictures for 3 rows"),
        ("def draw(rows, size): return [[1]] * 3", "uint8 arrays"),
    ],
)
def test_a_function_that_fails_is_quoted(make: Make, code: str, message: str) -> None:
    folder = make('renderer: {python: "studio:draw"}')
    (folder / "studio.py").write_text(code)
    with pytest.raises(CharacterError, match=message):
        drawn(folder)


def test_a_command_draws_what_its_csv_says(make: Make) -> None:
    folder = make(command("works"))
    (folder / "program.py").write_text(PROGRAM)
    images = drawn(folder)
    assert [int(image[0, 0, 0]) for image in images] == [0, 101, 200]
    assert images[0].shape == (32, 32, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drawn_by", "message"),
    [
        (command("fails"), "ended with status 1: no licence"),
        (command("sleeps", timeout=1), "took longer than 1 s: raise `timeout`"),
        (command("forgets"), "wrote no 000001.png"),
        (command("grows"), "different sizes"),
        ("renderer: {command: [./nowhere]}", "cannot be started: No such file"),
    ],
)
def test_a_command_that_fails_is_quoted(make: Make, drawn_by: str, message: str) -> None:
    folder = make(drawn_by)
    (folder / "program.py").write_text(PROGRAM)
    with pytest.raises(CharacterError, match=message):
        drawn(folder)


def test_two_characters_may_call_their_modules_the_same(make: Make, tmp_path: Path) -> None:
    first = make('renderer: {python: "studio:draw"}')
    code = "import numpy as np\ndef draw(rows, size): return [np.full((4, 4, 3), %d, np.uint8) for _ in rows]\n"
    (first / "studio.py").write_text(code % 1)
    second = tmp_path / "other"
    second.mkdir()
    (second / "schema.yaml").write_text((first / "schema.yaml").read_text().replace("name: mine", "name: other"))
    (second / "studio.py").write_text(code % 2)
    assert (int(drawn(first)[0][0, 0, 0]), int(drawn(second)[0][0, 0, 0])) == (1, 2)
    assert "studio" not in sys.modules
