"""Run one stage: paths from the command line, readable errors, the right copy of the code."""

import argparse
import errno
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import torch

import ppl
from ppl.core import processes
from ppl.core.declared import named_setting
from ppl.core.errors import InputError
from ppl.run.guard import Guard
from ppl.run.lock import only_run
from ppl.run.record import checkpoints, write_record


def run(main: Callable[..., None]) -> None:
    """Call `main` with the paths that its parameters name, then exit.

    `def main(*, labeled: Path, out: Path)` becomes `--labeled PATH --out PATH`, and so do the
    fields of a dataclass of paths: `def main(files: Files)`. dvc.yaml is the only place where those
    paths stand, or params.yaml, where the command has `@section.key` for a path. An `InputError` is
    printed alone and ends with status 1, as does a full disk or memory; DVC then records nothing.

    Of several processes started by torchrun, each calls `main`, and the first one alone prints,
    holds the lock and watches over inputs.
    """
    name = Path(inspect.getfile(main)).stem
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{name}", description=main.__doc__, allow_abbrev=False
    )
    for path in (path for name, kind in _parameters(main) for path in _paths(name, kind)):
        parser.add_argument("--" + path.replace("_", "-"), required=True, metavar="PATH")
    words = vars(parser.parse_args())
    try:
        given = arguments(main, {name: named_setting(word) for name, word in words.items()})
        _stop_unless_code_is_local()
        processes.start()
        if processes.is_first():
            with only_run(name):
                guard, before = Guard(name), checkpoints(name)
                processes.wait()
                main(**given)
                processes.wait()
                guard.stop_if_changed()
                write_record(name, before)
        else:
            processes.wait()
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
                main(**given)
            processes.wait()
        processes.stop()
    except InputError as error:
        print(f"\n{name}: {error}", file=sys.stderr)
        sys.exit(1)
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        if not _memory_is_full(error):
            raise
        print(f"\n{name}: out of memory. {_LESS_MEMORY}\n({error})"[:2000], file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"\n{name}: no space left on the disk ({error}): free some, then `dvc repro` goes on",
            file=sys.stderr,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted. `dvc repro` goes on from here.", file=sys.stderr)
        sys.exit(130)


def arguments(main: Callable[..., None], paths: Mapping[str, Path]) -> dict[str, Any]:
    """What to call `main` with, from a path for each option."""

    def filled(name: str, kind: Any) -> Any:
        if not is_dataclass(kind):
            return paths[name]
        make: Any = kind
        return make(**{path: paths[path] for path in _paths(name, kind)})

    return {name: filled(name, kind) for name, kind in _parameters(main)}


def _parameters(main: Callable[..., None]) -> list[tuple[str, Any]]:
    """The parameters of `main`, each with its type."""
    types = get_type_hints(main)
    return [(name, types[name]) for name in inspect.signature(main).parameters]


def _paths(name: str, kind: Any) -> list[str]:
    """The paths that a parameter stands for: itself, or the fields of a dataclass."""
    return [field.name for field in fields(kind)] if is_dataclass(kind) else [name]


_LESS_MEMORY = (
    "Lower the images of a step (train_supervised.batch, labeled_batch and unlabeled_batch of "
    "retrain_reliable and retrain_final, or in the section of a method that trains once) or "
    "image.height and image.width; on a GPU, "
    "compute.precision: bfloat16 and PPL_GPU_CACHE_GIB=0 in the environment help too. "
    "`dvc repro` goes on from the last stage that ended."
)


def _memory_is_full(error: BaseException) -> bool:
    return isinstance(
        error, torch.OutOfMemoryError | MemoryError
    ) or "DefaultCPUAllocator: " in str(error)


def _stop_unless_code_is_local() -> None:
    """Queued experiments run in copies of the workspace; importing another copy would lie."""
    code = Path(ppl.__file__).resolve().parent
    here = Path.cwd().resolve()
    if code.parent != here:
        raise InputError(
            f"the code was imported from {code}, but this run belongs to {here}. "
            "Run stages with `python -m ppl.run NAME` from the project's root and uninstall any "
            "installed copy of ppl."
        )
