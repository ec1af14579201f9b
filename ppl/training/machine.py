"""What a run may take of the machine. It changes how long a stage takes, never what it leaves.

PPL_CACHE_GIB      memory for decoded training images; default: half of what is free
PPL_GPU_CACHE_GIB  the same on the GPU; default: a quarter of what is free there
PPL_DISK_CACHE_GIB disk for those that memory does not hold; default: half of what is free there
PPL_WORKERS        processes that read images where the memory does not hold them all
"""

import contextlib
import os
import platform
import re
import shutil
from pathlib import Path

import psutil
import torch

from ppl.core.errors import InputError

GIB = 2**30

MAX_WORKERS = 8
"""Processes that read images, unless told otherwise; more seldom pay."""

DECODED = 20
"""Bytes a pixel that an image takes while it is decoded and converted, about, and at most."""

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says what a container or batch job may use."""


def cache_bytes() -> int:
    """Memory that this process may fill with decoded training images.

    Raises:
        InputError: PPL_CACHE_GIB is no number.
    """
    own = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return round(environment_number("PPL_CACHE_GIB", free_memory() / 2 / GIB) * GIB) // own


def gpu_cache_bytes(device: torch.device) -> int:
    """Memory of `device` that decoded training images may fill; 0 on the CPU.

    Raises:
        InputError: PPL_GPU_CACHE_GIB is no number.
    """
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    return round(environment_number("PPL_GPU_CACHE_GIB", free / 4 / GIB) * GIB)


def disk_cache_bytes(folder: Path) -> int:
    """Bytes of the disk of `folder`, which exists, that decoded images of this process may take.

    Raises:
        InputError: PPL_DISK_CACHE_GIB is no number.
    """
    own = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    half = shutil.disk_usage(folder).free / 2
    return round(environment_number("PPL_DISK_CACHE_GIB", half / GIB) * GIB) // own


def read_workers(pixels: int = 0) -> int:
    """Processes that read images beside the training, at least one.

    Args:
        pixels: of the largest image. Unless told otherwise there are no more processes than half
            of the free memory has room for while each decodes such an image.

    Raises:
        InputError: PPL_WORKERS is no number.
    """
    room = free_memory() // 2 // (DECODED * pixels) if pixels else MAX_WORKERS
    default = max(1, min(MAX_WORKERS, torch.get_num_threads() - 1, room))
    return max(1, int(environment_number("PPL_WORKERS", default)))


def free_memory() -> int:
    """Bytes of memory that are free, also by the limit of a container."""
    free = psutil.virtual_memory().available
    for limit, current, of_files in (
        ("memory.max", "memory.current", "memory.stat"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
        ),
    ):
        try:
            files = CGROUP / limit, CGROUP / current
            words = [file.read_text(encoding="ascii").strip() for file in files]
        except OSError:
            continue
        if all(word.isdecimal() for word in words):
            used = int(words[1]) - _given_up_if_needed(CGROUP / of_files)
            free = min(free, max(0, int(words[0]) - used))
    return free


def _given_up_if_needed(stat: Path) -> int:
    """Bytes of files that a container holds in its memory and nobody has used of late."""
    with contextlib.suppress(OSError):
        found = re.search(r"^inactive_file (\d+)$", stat.read_text(encoding="ascii"), re.MULTILINE)
        return int(found[1]) if found else 0
    return 0


def environment_number(name: str, default: float) -> float:
    """The number, 0 or more, in the environment variable `name`; `default` where there is none.

    Raises:
        InputError: it holds something else.
    """
    given = os.environ.get(name)
    if given is None:
        return default
    try:
        number = float(given)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise InputError(f"{name} is {given!r}; expected a number, 0 or more")
    return number


def cpu_model() -> str:
    """What kind of processor this is: another may round differently."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    # Arm's list has no name, but part numbers
    kinds = {line for line in lines if line.startswith(("model name", "CPU part"))}
    return ", ".join(sorted(kinds)) or platform.machine()
