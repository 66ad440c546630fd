"""A library that only an extra brings is named with the extra."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from email.message import Message

import pytest

from orchestration.config.extras import PACKAGES, missing_extra, require
from orchestration.config.settings import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


@pytest.fixture(autouse=True)
def as_in_pyproject(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the installed package says of itself."""
    metadata = Message()
    for name in PROJECT["dependencies"]:
        metadata["Requires-Dist"] = name
    for extra, names in PROJECT["optional-dependencies"].items():
        metadata["Provides-Extra"] = extra
        for name in names:
            metadata["Requires-Dist"] = f"{name}; extra == '{extra}'"
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: metadata)


@pytest.mark.parametrize(
    ("module", "extra"),
    [("ray.serve", "cluster"), ("psycopg2", "postgres"), ("great_expectations", "run"), ("prometheus_client", "serve")],
)
def test_what_to_install_is_said(module: str, extra: str) -> None:
    error = ModuleNotFoundError(name=module)
    assert missing_extra(error) == f"{module} is not installed: pip install 'likeness[{extra}]'"


def test_the_cause_of_another_library_s_error_is_found() -> None:
    error = RuntimeError("the instance cannot be loaded")
    error.__cause__ = ModuleNotFoundError(name="dagster_ray.run_launcher")
    assert "likeness[cluster]" in missing_extra(error)


def test_what_a_later_process_will_import_is_asked_for_at_once() -> None:
    require("json")
    with pytest.raises(ModuleNotFoundError) as raised:
        require("nowhere")
    assert raised.value.name == "nowhere"


@pytest.mark.parametrize("module", ["numpy", "nowhere"])
def test_what_no_extra_brings_is_another_error(module: str) -> None:
    assert missing_extra(ModuleNotFoundError(name=module)) == ""


def _imported() -> set[str]:
    """Top-level names that the package imports anywhere."""
    names = set[str]()
    for folder in ("engine", "models", "stages", "orchestration", "serving"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    names.add(node.module)
    return {name.split(".")[0] for name in names}


OTHER_NAMES = {
    "PIL": "pillow", "cv2": "opencv-python", "markdown_it": "markdown-it-py", "warp": "warp-lang", "yaml": "pyyaml",
}  # fmt: skip
BROUGHT_BY = {"grpc": "dagster", "starlette": "fastapi", "urllib3": "requests", "dvc_data": "dvc", "dvc_objects": "dvc"}


@pytest.mark.slow
def test_all_that_the_code_imports_is_asked_for() -> None:
    asked = [*PROJECT["dependencies"], *(name for extra in PROJECT["optional-dependencies"].values() for name in extra)]
    packages = {re.split(r"[=<>\[]", name)[0].lower().replace("_", "-") for name in asked}
    ours = {"engine", "models", "stages", "orchestration", "serving"}
    names = {**PACKAGES, **OTHER_NAMES, **BROUGHT_BY}
    wanted = {names.get(name, name) for name in _imported() - ours - sys.stdlib_module_names}
    assert {name.lower().replace("_", "-") for name in wanted} - packages == set()
