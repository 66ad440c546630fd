"""Guard of the rule that a stage's VERSION is raised when its code changes: `python -m tests.stages.stage_code`.

A finished asset is made again when its stage's VERSION changes, so a change of code without a new VERSION leaves old
data standing as if it were new. tests/stages/stage_code.json records each stage's VERSION and a hash of its code; where
the hash changed and VERSION did not, a test fails until one of two commands says which of both was meant.

What is the code of a stage? All definitions of the project that its `run` and `Config` reach by name, in stages/,
models/ and engine/: a change of the renderer changes portraits as much as a change of the stage. Whole modules would be
simpler and cry wolf: one helper for pictures is imported by all stages. The hash is blind to what cannot change the
output: comments, docstrings, formatting, descriptions of fields, annotations of functions, and in which file a
definition stands. It does not see data files, libraries, and what is called by a computed name.
"""

import argparse
import ast
import functools
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "tests" / "stages" / "stage_code.json"
PACKAGES = ("stages", "models", "engine")
Entries = dict[str, dict[str, str]]
"""`version` and `code` by stage."""
COMMAND = "python -m tests.stages.stage_code --accept"


@dataclass
class Module:
    """What the top level of one file defines and imports."""

    defined: dict[str, list[ast.stmt]] = field(default_factory=dict)
    """Statements by the name they define; "" has those that run at import and define none."""
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Module and name in it ("": the module itself) by the name that it has here; imports inside functions too."""


def file_of(module: str) -> Path | None:
    """The file of a module of the project; None where there is none."""
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@functools.cache
def read(module: str) -> Module:
    """Definitions and imports of a module of the project."""
    file = file_of(module)
    assert file is not None, module
    tree, found = ast.parse(file.read_text(encoding="utf-8")), Module()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            origin = _origin(module, file, node)
            for alias in node.names:
                whole = f"{origin}.{alias.name}"
                target = (whole, "") if file_of(whole) else (origin, alias.name)
                found.imported[alias.asname or alias.name] = target
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found.imported[alias.asname or alias.name.split(".")[0]] = (alias.name, "")
    for statement in tree.body:
        for name in _names(statement):
            found.defined.setdefault(name, []).append(_Bare().visit(statement))
    return found


def _origin(module: str, file: Path, node: ast.ImportFrom) -> str:
    """The whole name of the module that something is imported from, also by `from .other import`."""
    if not node.level:
        return node.module or ""
    up = node.level - (file.name == "__init__.py")
    above = module.split(".")[: -up or None]
    return ".".join([*above, node.module] if node.module else above)


def _names(statement: ast.stmt) -> list[str]:
    """The names that a statement defines, [""] for none; imports define nothing of their own."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom) or _is_text(statement):
        return []
    stored = [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return stored or [""]


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


class _Bare(ast.NodeTransformer):
    """Takes out what cannot change what a stage writes."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.Call):
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            imports = ast.Import | ast.ImportFrom
            body[:] = [each for each in body if not _is_text(each) and not isinstance(each, imports)]
        return node


def _reached(module: str, statement: ast.stmt) -> Iterator[tuple[str, str]]:
    """Module and name of what a statement names, of this module or imported; a name "" is all of that module."""
    known = read(module)
    inner = set[ast.AST]()
    for node in ast.walk(statement):
        if node in inner:
            continue
        attributes = []
        top = node
        while isinstance(top, ast.Attribute):
            attributes.insert(0, top.attr)
            top = top.value
            inner.add(top)
        if not isinstance(top, ast.Name):
            continue
        if top.id in known.defined:
            yield module, top.id
        elif top.id in known.imported:
            where, name = known.imported[top.id]
            while not name and attributes:
                name = attributes.pop(0)
                if file_of(f"{where}.{name}"):
                    where, name = f"{where}.{name}", ""
            yield where, name


def code_of(stage: str) -> dict[tuple[str, str], str]:
    """The definitions that a stage reaches, by module and name, each as bare text of its syntax tree."""
    found: dict[tuple[str, str], str] = {}
    waiting = [(f"stages.{stage}", "run"), (f"stages.{stage}", "Config")]
    while waiting:
        module, name = waiting.pop()
        if (module, name) in found or not module.startswith(PACKAGES) or not file_of(module):
            continue
        known = read(module)
        if name in known.imported and name not in known.defined:  # handed on by a package's __init__.py
            waiting.append(known.imported[name])
            continue
        statements = known.defined.get(name, [])
        found[module, name] = "\n".join(_text(module, statement) for statement in statements)
        waiting += [(module, ""), *(target for statement in statements for target in _reached(module, statement))]
    return found


def _text(module: str, statement: ast.stmt) -> str:
    """The syntax tree of a statement, in which all modules of the project have one name: a file may be renamed."""
    modules = {name for name, (where, what) in read(module).imported.items() if not what and where.startswith(PACKAGES)}
    return re.sub(r"(?<=Name\(id=')\w+", lambda name: "module" if name[0] in modules else name[0], ast.dump(statement))


def now() -> Entries:
    """VERSION and hash of the code of each stage: the modules of stages/ that have a VERSION and a `run`."""
    found = {}
    folder = ROOT / "stages"
    for stage in sorted({path.stem for path in folder.glob("[a-z]*") if file_of(f"stages.{path.stem}")}):
        defined = read(f"stages.{stage}").defined
        if "VERSION" in defined and "run" in defined:
            version = ast.literal_eval(defined["VERSION"][0].value)  # type: ignore[attr-defined]
            text = "\n".join(sorted(set(code_of(stage).values())))
            found[stage] = {"version": version, "code": hashlib.sha256(text.encode()).hexdigest()[:16]}
    return found


def recorded() -> Entries:
    """What was recorded last."""
    return json.loads(RECORD.read_text()) if RECORD.is_file() else {}


def complaints(was: Entries, has: Entries) -> list[str]:
    """What is wrong with the record of each stage, and what to do about it."""
    found = []
    for stage in sorted(was.keys() | has.keys()):
        old, new = was.get(stage), has.get(stage)
        if old == new:
            continue
        if old is None or new is None:
            found.append(f"{stage}: this stage is new or gone. Record it: {COMMAND}")
        elif old["version"] != new["version"]:
            found.append(f"{stage}: VERSION is {new['version']}, recorded is {old['version']}. Record it: {COMMAND}")
        else:
            found.append(
                f"{stage}: the code changed and VERSION is still {new['version']}.\n"
                f"  If the stage may write anything else now, raise VERSION in stages/{stage}, then: {COMMAND}\n"
                f"  If it is sure to write the same, say so: {COMMAND} --same-output {stage}\n"
                f"  All that counts as its code: python -m tests.stages.stage_code --list {stage}"
            )
    return found


def accepted(was: Entries, has: Entries, same_output: Sequence[str]) -> Entries:
    """The new record: of every stage whose VERSION changed, and of those of `same_output` ("all": of all)."""
    said = {stage for stage in has if stage in same_output or "all" in same_output}
    return {
        stage: was[stage] if stage in was and was[stage]["version"] == new["version"] and stage not in said else new
        for stage, new in has.items()
    }


def main() -> None:
    """Exit status 1 with a complaint for each stage whose record is not right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--accept", action="store_true", help="record the stages whose VERSION was raised")
    parser.add_argument(
        "--same-output", nargs="+", default=[], metavar="STAGE", help="and these, which write the same (all: every one)"
    )
    parser.add_argument("--list", metavar="STAGE", help="the definitions that count as a stage's code")
    options = parser.parse_args()
    if options.list:
        print("\n".join(sorted(f"{module}.{name}" for module, name in code_of(options.list) if name)))
        return
    has = now()
    if options.accept:
        RECORD.write_text(json.dumps(accepted(recorded(), has, options.same_output), indent=2) + "\n")
    sys.exit("\n".join(complaints(recorded(), has)) or 0)


if __name__ == "__main__":
    main()
