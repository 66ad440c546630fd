"""Which heavy libraries a command imports, and that what is imported for later is whole when it is used."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.config.imports import when_used


def test_a_module_runs_when_it_is_first_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "toys"
    package.mkdir()
    (package / "__init__.py").write_text("import toys.plain\nimport toys.heavy\n")
    for name in ("plain", "heavy"):
        (package / f"{name}.py").write_text(
            f"import toys\ntoys.ran = [*getattr(toys, 'ran', []), '{name}']\nWORD = '{name}'\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)
    with when_used("toys.heavy", "toys.none"):
        import toys  # type: ignore[import-not-found]
    assert sys.meta_path == finders
    assert toys.ran == ["plain"]
    assert toys.heavy.WORD == "heavy" and toys.ran == ["plain", "heavy"]
    assert sys.modules["toys.heavy"] is toys.heavy


def test_landmarks_are_found_without_what_draws_them() -> None:
    code = """
import sys
from orchestration.apps.create import import_mediapipe
import_mediapipe()
from mediapipe.tasks.python import vision
assert vision.FaceLandmarker
assert not any(name.startswith("matplotlib") for name in sys.modules)
assert vision.drawing_utils.draw_landmarks and vision.drawing_styles.get_default_pose_landmarks_style
assert "matplotlib.pyplot" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
