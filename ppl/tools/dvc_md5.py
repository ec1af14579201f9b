"""The MD5 by which dvc.lock names files and folders."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path


def md5_of(content: bytes | memoryview) -> str:
    """Of a file with this content."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def folder_md5(folder: Path, hashes: Mapping[Path, str]) -> str:
    """Of a folder of these files, by the MD5 of each."""
    parts = sorted((file.relative_to(folder).as_posix(), md5) for file, md5 in hashes.items())
    listed = [{"md5": md5, "relpath": path} for path, md5 in parts]
    return f"{md5_of(json.dumps(listed, sort_keys=True).encode())}.dir"
