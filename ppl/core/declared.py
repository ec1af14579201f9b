"""What dvc.yaml declares for a stage: its code, its inputs and its settings, as they are now."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ppl.core.errors import InputError
from ppl.core.settings import PARAMS_FILE, read_params, section

PIPELINE = Path("dvc.yaml")

CODE_FOLDERS = ("ppl", "stages")
"""What lies below them is code, everything else that a stage depends on is data."""

SCRATCH = Path(".scratch")
"""Folder of locks and checkpoints, which neither Git nor DVC sees."""


def scratch_folder() -> Path:
    """Where a stage leaves what is no artifact; it need not exist.

    Queued runs work in copies of the project that are deleted; DVC_ROOT is where they came from.
    """
    return Path(os.environ.get("DVC_ROOT", ".")) / SCRATCH


@dataclass(frozen=True)
class Declared:
    """The dependencies of a stage, relative to the project's root."""

    code: list[Path]
    """Folders of Python files, and single ones."""
    inputs: list[Path]
    """Files and folders of data."""
    params: dict[str, Any]
    """Sections of params.yaml, plain."""

    @property
    def code_files(self) -> list[Path]:
        """Every Python file that is code or lies below a folder of it, as the disk has it now.

        As .dvcignore has it: a hidden file is an editor's, not the project's.
        """
        return [
            file
            for path in self.code
            for file in (files_below(path) if path.is_dir() else [path])
            if file.suffix == ".py" and not any(part.startswith(".") for part in file.parts)
        ]

    @property
    def input_files(self) -> list[Path]:
        """Every file that is an input or lies below one, as the disk has it now."""
        return [file for path in self.inputs for file in files_below(path)]


def declared(stage: str) -> Declared:
    """What `stage` depends on, read from dvc.yaml and params.yaml in the working directory.

    A stage that dvc.yaml does not know depends on nothing.
    """
    stages = yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"]
    return dependencies(stages.get(stage, {}), read_params())


def dependencies(described: dict[str, Any], params: dict[str, Any]) -> Declared:
    """What a stage depends on, from its entry in dvc.yaml and all of params.yaml."""
    deps = [Path(_filled_in(dep, params)) for dep in described.get("deps", [])]
    return Declared(
        code=[dep for dep in deps if _is_code(dep)],
        inputs=[dep for dep in deps if not _is_code(dep)],
        params={name: params.get(name) for name in described.get("params", [])},
    )


def _is_code(dep: Path) -> bool:
    return dep.parts[0] in CODE_FOLDERS


def named_setting(path: str) -> Path:
    """The path that stands in a command of dvc.yaml; `@section.key` is what that setting holds.

    Raises:
        InputError: params.yaml lacks the setting, or it holds no path.
    """
    found = re.fullmatch(r"@(\w+)\.(\w+)", path)
    if not found:
        return Path(path)
    name, key = found.groups()
    value = section(name, dict[str, Any]).get(key)
    if not isinstance(value, str):
        raise InputError(f"{PARAMS_FILE}: {name}.{key}: got {value!r}; expected a path")
    return Path(value)


def _filled_in(path: str, params: dict[str, Any]) -> str:
    """`path` with DVC's ${section.key} replaced by the setting."""
    return re.sub(
        r"\$\{(\w+)\.(\w+)\}", lambda found: str(params[found.group(1)][found.group(2)]), path
    )


def files_below(path: Path) -> Iterator[Path]:
    """`path` itself if it is a file, else every file below it, sorted."""
    if path.is_dir():
        yield from (file for file in sorted(path.rglob("*")) if file.is_file())
    elif path.exists():
        yield path


def digest(file: Path) -> str:
    """A hash of a file's content."""
    return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
