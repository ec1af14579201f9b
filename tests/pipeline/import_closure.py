"""Which files of the project a module reaches by its imports, read from the source."""

import ast
from pathlib import Path

PACKAGES = ("ppl", "stages")


def imported_files(file: Path, root: Path) -> set[Path]:
    """The project's files that `file` itself imports, relative to `root`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    found = set()
    for name in names:
        candidate = Path(*name.split(".")).with_suffix(".py")
        if name.split(".")[0] in PACKAGES and (root / candidate).is_file():
            found.add(candidate)
    return found


def import_closure(file: Path, root: Path) -> set[Path]:
    """`file` and all project files that it reaches."""
    reached: set[Path] = set()
    waiting = {file}
    while waiting:
        current = waiting.pop()
        reached.add(current)
        waiting |= imported_files(current, root) - reached
    return reached


def sections_read(files: set[Path], root: Path) -> set[str]:
    """The names of all params.yaml sections that these files ask for.

    By `section("name", ...)`, or by `sections(Class)` for every field of a dataclass among them.
    """
    trees = [ast.parse((root / file).read_text(encoding="utf-8")) for file in files]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    fields_of = {
        node.name: {
            line.target.id
            for line in node.body
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        }
        for node in nodes
        if isinstance(node, ast.ClassDef)
    }
    found = set()
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            asked = node.args[0]
            if node.func.id == "section" and isinstance(asked, ast.Constant):
                found.add(str(asked.value))
            elif node.func.id == "sections" and isinstance(asked, ast.Name):
                found |= fields_of[asked.id]
    return found
