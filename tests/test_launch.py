"""The launcher sets malloc up, leaves what the user set, and is otherwise not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppl.launch import MEMORY, memory_settings
from tests.project import module

ECHO = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.getpid(), {k: os.environ.get(k) for k in %r}]))
sys.exit(7)
"""


def workspace(folder: Path) -> Path:
    """A folder whose only stage prints what it was given and ends with status 7."""
    (folder / "stages").mkdir()
    (folder / "stages" / "echo.py").write_text(ECHO % list(MEMORY), encoding="utf-8")
    (folder / "ppl").symlink_to(Path(__file__).parent.parent / "ppl")
    return folder


def test_what_the_user_set_stays() -> None:
    added = memory_settings({"MALLOC_TOP_PAD_": "1", "HOME": "/"})
    assert added.keys() == MEMORY.keys() - {"MALLOC_TOP_PAD_"}


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_a_stage_gets_its_options_the_settings_and_the_launchers_own_process(
    tmp_path: Path,
) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in MEMORY}
    started = subprocess.Popen(
        [sys.executable, "-m", "ppl.launch", "echo", "--out", "a b"],
        cwd=workspace(tmp_path),
        env=clean,
        stdout=subprocess.PIPE,
        text=True,
    )
    said, _ = started.communicate()
    assert started.returncode == 7
    assert said.strip() == (
        f'[["--out", "a b"], {started.pid}, ' + str(MEMORY).replace("'", '"') + "]"
    )


def test_an_unknown_stage_is_named(tmp_path: Path) -> None:
    done = module(workspace(tmp_path), "ppl.launch", "no_such_stage")
    assert done.returncode != 0
    assert "stages.no_such_stage" in done.stderr


def test_glibc_takes_the_settings() -> None:
    """Without them, an array of 64 MiB is mapped and given back; with them it stays on the heap."""
    script = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "libc.free.argtypes = [ctypes.c_void_p]\n"
        "block = libc.malloc(ctypes.c_size_t(64 << 20))\n"
        "ctypes.memset(block, 1, 64 << 20)\n"
        "libc.free(block)\n"
        "pages = int(open('/proc/self/statm').read().split()[1])\n"
        "print(pages * os.sysconf('SC_PAGE_SIZE') >> 20)\n"
    )
    if sys.platform != "linux" or os.confstr("CS_GNU_LIBC_VERSION") is None:
        pytest.skip("no glibc here")
    clean = {name: value for name, value in os.environ.items() if name not in MEMORY}
    resident = [
        int(
            subprocess.run(
                [sys.executable, "-c", script], env=env, check=True, capture_output=True, text=True
            ).stdout
        )
        for env in (clean, clean | MEMORY)
    ]
    assert resident[0] < 64 <= resident[1]
