"""Record what a stage opens, imports and reads of params.yaml.

Python imports this module at its start where tests/recorder is on PYTHONPATH. A process that DVC
runs as a stage (DVC_STAGE) then leaves $PPL_RECORD/STAGE.json when it ends.
"""

import atexit
import json
import os
import sys
from pathlib import Path
from typing import Any

RECORD = os.environ.get("PPL_RECORD")
STAGE = os.environ.get("DVC_STAGE")


def _record(folder: Path, stage: str) -> None:
    here = Path.cwd().resolve()
    opened: set[str] = set()
    sections: set[str] = set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            opened.add(os.path.abspath(os.fsdecode(arguments[0])))  # noqa: PTH100
        elif event == "ppl.core.settings.check":
            sections.add(str(arguments[0]))

    def write() -> None:
        files = {Path(file).relative_to(here) for file in opened if file.startswith(f"{here}/")}
        modules = {
            Path(file).resolve().relative_to(here).as_posix()
            for name, module in sys.modules.items()
            if name.split(".")[0] in {"ppl", "stages", "__main__"}
            and (file := getattr(module, "__file__", None))
            and Path(file).resolve().is_relative_to(here)
        }
        found = {
            "files": sorted(
                file.as_posix() for file in files if file.suffix not in {".py", ".pyc"}
            ),
            "modules": sorted(file for file in modules if not file.endswith("__init__.py")),
            "sections": sorted(sections),
        }
        (folder / f"{stage}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")

    sys.addaudithook(hook)
    atexit.register(write)


if RECORD and STAGE:
    _record(Path(RECORD), STAGE.split(":")[-1])
