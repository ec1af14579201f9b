"""Which folders a person's work may go into: neither the pipeline's own nor the data's.

It imports no PyTorch, for which a command that only opens a page would wait.
"""

import os
from pathlib import Path

from ppl.core.errors import InputError
from ppl.tools.used_settings import lock_text, locked_stages

HANDED_OUT = Path("data", "annotate_next")

OWN_REVIEW = Path("data", "review")
"""Where a review goes that has no place beside the images."""


def decisions_file(name: str, root: str) -> Path:
    """Where a review left its decisions.

    Args:
        name, root: of the section `data`.
    """
    beside = name == "folder" and (os.access(root, os.W_OK) or Path(root, "review").is_dir())
    return (Path(root, "review") if beside else OWN_REVIEW) / "decisions.csv"


def stop_at_owned(folder: Path, name: str, root: str) -> None:
    """Refuse a folder where work would be overwritten, or taken for what it is not.

    Args:
        name, root: of the section `data`; "" without one.

    Raises:
        InputError: it lies among the pipeline's outputs, among the images and masks of `root`, or
            anywhere in a published data set.
    """
    above = (folder.resolve(), *folder.resolve().parents)
    if any(out.resolve() in above for out in _outputs()):
        raise InputError(f"{folder} is the pipeline's own, which overwrites it: name another")
    if name not in ("", "folder") and Path(root).resolve() in above:
        raise InputError(f"{folder} lies in the data set {name}: name another folder")
    # in whichever case: not all file systems tell masks/ from Masks/
    lower = {path.as_posix().lower() for path in above}
    for read in ("images", "masks", "corrected"):
        if name == "folder" and (Path(root) / read).resolve().as_posix().lower() in lower:
            raise InputError(
                f"{folder} lies in {read}/ of your data, where a model's masks would count as "
                "yours before anybody looked: name another folder"
            )


def stop_at_tool_files(folder: Path, name: str, root: str) -> None:
    """Refuse a folder where what goes out to a tool would be read as masks beside the images.

    Args:
        name, root: of the section `data`.

    Raises:
        InputError: it is `root`, or its annotations/.
    """
    read = (Path(root).resolve(), Path(root, "annotations").resolve())
    if name == "folder" and folder.resolve() in read:
        raise InputError(
            f"{folder} is where files of a tool count as yours, before anybody looked: name "
            f"another folder, as {Path(root, 'to_correct')}"
        )


def _outputs() -> set[Path]:
    """What the pipeline writes, as far as it has run."""
    stages = locked_stages(lock_text(Path())).values()
    return {HANDED_OUT, *(Path(out["path"]) for stage in stages for out in stage.get("outs") or ())}
