"""The stage of CONTRIBUTING.md works as it stands there."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import stages
from orchestration.config.catalog import Stage
from tools.lock import ROOT


def test_the_example_is_a_stage_and_passes_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
    code, entry, test = blocks
    module = ModuleType("stages.average_face")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(stages, "average_face", module, raising=False)
    exec(code, module.__dict__)
    stage = eval(entry, {"Stage": Stage})
    assert stage.code is module and {*stage.code.INPUTS} <= {"aligned_faces"} and stage.code.Config().size == 256
    found: dict[str, Any] = {}
    exec(test, found)
    (check,) = (value for name, value in found.items() if name.startswith("test_"))
    check(tmp_path)
