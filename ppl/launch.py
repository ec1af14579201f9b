"""Start a stage so that it runs fast: python -m ppl.launch STAGE --OPTION PATH ...

How a stage is started changes its time and never its result, so no stage depends on this file. It
imports nothing heavy, since it runs before every stage.
"""

import os
import runpy
import sys
from collections.abc import Mapping

MEMORY = {
    # huge pages on request: a training touches gigabytes at every step
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    # freed tensors stay with the process: given back and fetched again, every page of them costs
    # a page fault, which took half the time of training at 512 x 512
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
"""Variables of glibc's malloc, in bytes; it reads them once, when a process starts."""


def memory_settings(given: Mapping[str, str]) -> dict[str, str]:
    """What to add to the variables `given`, so that malloc keeps its memory; yours stay."""
    return {name: value for name, value in MEMORY.items() if name not in given}


def main() -> None:
    """Run the stage that the first argument names, with the rest as its options."""
    stage, *options = sys.argv[1:]
    module = f"stages.{stage}"
    if sys.platform == "linux":
        command = [sys.executable, "-m", module, *options]
        # in place of this process: signals, exit status and parent stay as DVC knows them
        os.execve(sys.executable, command, os.environ | memory_settings(os.environ))
    sys.argv = [module, *options]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
