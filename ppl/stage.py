"""Run one stage: paths from the command line, readable errors, the right copy of the code."""

import argparse
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import ppl.errors
from ppl.errors import InputError


def run(main: Callable[..., None]) -> None:
    """Call `main` with the paths that its keyword-only parameters name, then exit.

    `def main(*, labeled: Path, out: Path)` becomes `--labeled PATH --out PATH`. dvc.yaml is the
    only place where those paths stand. An `InputError` is printed alone and ends with status 1.
    """
    name = Path(inspect.getfile(main)).stem
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{name}", description=main.__doc__, allow_abbrev=False
    )
    for parameter in inspect.signature(main).parameters:
        parser.add_argument(
            "--" + parameter.replace("_", "-"), type=Path, required=True, metavar="PATH"
        )
    arguments = vars(parser.parse_args())
    try:
        _stop_unless_code_is_local()
        main(**arguments)
    except InputError as error:
        print(f"\n{name}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted. `dvc repro` goes on from this stage.", file=sys.stderr)
        sys.exit(130)


def _stop_unless_code_is_local() -> None:
    """Queued experiments run in copies of the workspace; importing another copy would lie."""
    code = Path(ppl.errors.__file__).resolve().parent
    here = Path.cwd().resolve()
    if code.parent != here:
        raise InputError(
            f"the code was imported from {code}, but this run belongs to {here}. "
            "Run stages with `python -m stages.NAME` from the project's root and uninstall any "
            "installed copy of ppl."
        )
