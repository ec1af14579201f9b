"""The rules of the house, each as a function that says what breaks it; nothing where all is well.

A folder of ppl/ is a package: what is recomputed together. Each imports only from those before it
in `ORDER`, so that who reads an import knows which way it goes.
"""

import ast
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.pipeline.import_closure import import_closure, imported_files
from tests.pipeline.project import paths

ORDER = (
    "core",
    "images",
    "formats",
    "station",
    "network",
    "data",
    "scores",
    "training",
    "labeling",
    "students",
    "methods",
    "inspection",
    "judge",
    "export",
    "annotate",
)
"""The packages that stages list in dvc.yaml."""

UNLISTED = {
    "run": ("core", "run"),
    "review": ("core", "images", "station", "review"),
    "tools": (*ORDER, "run", "review", "tools"),
}
"""Packages that no stage lists, since they change no result, with what they may import."""

TOP = ("__init__.py", "__main__.py", "all_settings.py")
"""The modules of ppl/ itself: they see every package."""


def modules(root: Path) -> list[Path]:
    """All Python files of ppl/ and stages/, relative to `root`."""
    return sorted(
        file.relative_to(root)
        for folder in ("ppl", "stages")
        for file in (root / folder).rglob("*.py")
    )


def outside_the_packages(root: Path) -> list[str]:
    """Modules of ppl/ that lie in no package, and packages that `ORDER` does not know."""
    known = {*ORDER, *UNLISTED}
    return [
        f"{file} lies in no package of {', '.join([*ORDER, *UNLISTED])}"
        for file in modules(root)
        if file.parts[0] == "ppl" and file.parts[1] not in known and file.name not in TOP
    ] + [
        f"{file} lies in ppl/ itself, which holds {', '.join(TOP)}"
        for file in modules(root)
        if file.parts[:1] == ("ppl",) and len(file.parts) == 2 and file.name not in TOP
    ]


def allowed(package: str) -> tuple[str, ...]:
    """The packages that modules of `package` may import from, itself among them."""
    return UNLISTED.get(package) or ORDER[: ORDER.index(package) + 1]


def against_the_order(root: Path) -> list[str]:
    """Imports from a package that comes later, from ppl/ itself, or from a stage."""
    return [
        f"{file} imports {other}, but {file.parts[1]} comes before {other.parts[1]}"
        for file in modules(root)
        if len(file.parts) > 2 and file.parts[1] in {*ORDER, *UNLISTED}
        for other in sorted(imported_files(file, root))
        if other.parts[0] == "stages" or other.parts[1] not in allowed(file.parts[1])
    ] + [
        f"{file} imports the stage {other}"
        for file in modules(root)
        if file.parts[0] == "stages"
        for other in sorted(imported_files(file, root))
        if other.parts[0] == "stages"
    ]


def circles(root: Path) -> list[str]:
    """Modules that import one another, over others or not."""
    return [
        f"{file} and {other} import each other"
        for file in modules(root)
        for other in sorted(imported_files(file, root))
        if file in import_closure(other, root)
    ]


def listed_code(stage: Mapping[str, Any]) -> set[str]:
    """The code that a stage of dvc.yaml lists: folders of ppl/ and single files."""
    return {dep for dep in paths(stage["deps"]) if dep.split("/")[0] in ("ppl", "stages")}


def _covers(dep: str, file: Path) -> bool:
    return file.as_posix() == dep or file.as_posix().startswith(f"{dep}/")


ADAPTERS = Path("ppl/data/adapters")
"""Imported by their file names: whoever reaches the module that does so may reach them all."""


def reached(name: str, root: Path) -> set[Path]:
    """The modules that a stage may come to import."""
    found = import_closure(Path("stages", f"{name}.py"), root)
    if ADAPTERS / "base.py" in found and name == "prepare":
        for file in sorted((root / ADAPTERS).glob("*.py")):
            found |= import_closure(file.relative_to(root), root)
    return found


def unlisted_code(name: str, stage: Mapping[str, Any], root: Path) -> list[str]:
    """Modules that a stage reaches and that no dependency of it covers."""
    return [
        f"{name} reaches {file}, which dvc.yaml does not list for it"
        for file in sorted(reached(name, root))
        if file.parts[1] not in UNLISTED
        and not any(_covers(dep, file) for dep in listed_code(stage))
    ]


def idle_code(name: str, stage: Mapping[str, Any], root: Path) -> list[str]:
    """Dependencies on code of which a stage reaches nothing, or that another one covers."""
    known = reached(name, root)
    listed = listed_code(stage)
    return [
        f"{name} lists {dep}, but reaches nothing of it"
        for dep in sorted(listed)
        if not any(_covers(dep, file) for file in known)
    ] + [
        f"{name} lists {dep} and {other}, which holds it"
        for dep in sorted(listed)
        for other in sorted(listed - {dep})
        if dep.startswith(f"{other}/")
    ]


def untracked_code(root: Path) -> list[str]:
    """Python files that Git does not track: DVC hashes them, and a queued copy lacks them."""
    tracked = subprocess.run(
        ["git", "ls-files", "ppl", "stages"], cwd=root, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return [
        f"{file} is not tracked by Git: git add {file}"
        for file in modules(root)
        if file.as_posix() not in tracked
    ]


def packages_with_code(root: Path) -> list[str]:
    """__init__.py that hold code: they are imported on every way into a package."""
    return [
        f"{file} holds code: a package's own module is empty"
        for file in modules(root)
        if file.name == "__init__.py" and (root / file).read_text(encoding="utf-8").strip()
    ]


def reruns(file: str, stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The stages that an edit of `file` reruns at once, in their order, check_settings apart."""
    return [
        name
        for name, stage in stages.items()
        if name != "check_settings" and any(_covers(dep, Path(file)) for dep in listed_code(stage))
    ]


def functions(root: Path) -> Iterator[tuple[Path, ast.FunctionDef]]:
    """Every function and method of ppl/ and stages/, with its file."""
    for file in modules(root):
        for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield file, node


def too_wide(root: Path, most: int) -> list[str]:
    """Functions of more than `most` arguments, `self` apart; a stage's `main` takes its paths."""
    found = []
    for file, node in functions(root):
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = len([argument for argument in given if argument.arg not in ("self", "cls")])
        if count > most and not (file.parts[0] == "stages" and node.name == "main"):
            found.append(f"{file}: {node.name} takes {count} arguments, at most {most}")
    return found


def too_long(root: Path, most: int) -> list[str]:
    """Functions of more than `most` lines, decorators and docstring among them."""
    return [
        f"{file}: {node.name} has {_lines(node)} lines, at most {most}"
        for file, node in functions(root)
        if _lines(node) > most
    ]


def _lines(node: ast.FunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def lengths(root: Path) -> list[int]:
    """Lines of every function, sorted."""
    return sorted(_lines(node) for _, node in functions(root))
