"""Which code results were computed with: as dvc.lock records it, as a commit or a person has it."""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppl.core.errors import InputError
from ppl.tools.commands import ask_git
from ppl.tools.dvc_md5 import folder_md5, md5_of
from ppl.tools.used_settings import EVALUATE, locked_stages, outdated_sections, rests_on

FOLDERS = ("ppl/", "stages/")

SHOWN = 3
"""Paths that a message names."""

Code = Mapping[str, str]
"""The MD5 of each file and folder that stages depend on, as DVC has it."""


def recorded_code(deps: Mapping[str, Any]) -> Code:
    """What `dvc exp show --json`, or a stage of dvc.lock by path, says of the code."""
    found = {}
    for path, facts in deps.items():
        # in dvc.lock `hash` says which kind it is
        md5 = facts.get("md5") or facts.get("hash")
        if path.startswith(FOLDERS) and md5:
            found[path] = str(md5)
    return found


def files_at(revision: str) -> dict[str, str]:
    """The MD5 of each file of code that a commit has.

    Raises:
        InputError: Git knows no such commit.
    """
    listed = ask_git("ls-tree", "-r", "-z", "--full-tree", revision, "--", *FOLDERS)
    blobs = {}
    for line in listed.split("\0")[:-1]:
        facts, _, path = line.partition("\t")
        blobs[path] = facts.split()[2]
    md5 = _md5_of_blobs(sorted(set(blobs.values())))
    return {path: md5[blob] for path, blob in blobs.items()}


def _md5_of_blobs(blobs: Sequence[str]) -> dict[str, str]:
    done = subprocess.run(
        ["git", "cat-file", "--batch"],
        input="\n".join(blobs).encode(),
        capture_output=True,
        check=False,
    )
    found, rest = {}, memoryview(done.stdout)
    for blob in blobs:
        head, _, _ = bytes(rest[:200]).partition(b"\n")
        words = head.split()
        if len(words) != 3:
            raise InputError(f"Git cannot read the object {blob}: `git fsck` says more")
        start, size = len(head) + 1, int(words[2])
        found[blob] = md5_of(rest[start : start + size])
        rest = rest[start + size + 1 :]
    return found


def files_here() -> dict[str, str]:
    """The same of the working directory, the project."""
    listed = ask_git("ls-files", "-z", "-co", "--exclude-standard", "--", *FOLDERS)
    files = [Path(path) for path in dict.fromkeys(listed.split("\0")[:-1])]
    return {file.as_posix(): md5_of(file.read_bytes()) for file in files if file.is_file()}


def code_of(files: Mapping[str, str], paths: Iterable[str]) -> Code:
    """What DVC would record of these paths; those without a file are left out."""
    found = {}
    for path in paths:
        if path in files:
            found[path] = files[path]
        elif inside := [file for file in files if file.startswith(f"{path}/")]:
            found[path] = folder_md5(Path(path), {Path(file): files[file] for file in inside})
    return found


def mark(code: Code) -> str:
    """Six characters that are others for other code."""
    return md5_of(json.dumps(code, sort_keys=True).encode())[:6]


def doubt(revision: str, params: Mapping[str, Any]) -> str:
    """Why the scores that lie in a commit were not computed by it; "" where they were.

    Args:
        params: its params.yaml.

    Raises:
        InputError: its dvc.lock is no YAML, or Git fails.
    """
    try:
        lock = ask_git("show", f"{revision}:./dvc.lock")
    except InputError:
        return "it has no dvc.lock"
    if outdated := outdated_sections(lock, params):
        return f"its scores are of other settings ({', '.join(outdated)})"
    stages = locked_stages(lock)
    recorded = [
        recorded_code({str(dep["path"]): dep for dep in stages[name].get("deps") or ()})
        for name in rests_on(stages, EVALUATE)
    ]
    there = code_of(files_at(revision), {path for one in recorded for path in one})
    other = {path for one in recorded for path in one if there.get(path) != one[path]}
    if not other:
        return ""
    first = ", ".join(sorted(other)[:SHOWN])
    more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
    return f"its scores are of other code ({first}{more})"
