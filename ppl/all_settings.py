"""Every section of params.yaml with the settings class that owns it: checked as one, before all."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppl.annotate.next import AnnotateSettings
from ppl.core.errors import InputError
from ppl.core.settings import PARAMS_FILE, brief_key, check, read_params, section
from ppl.data.adapters.base import (
    DataSettings,
    dataset_info,
    stop_at_odd_names,
    stop_unless_there,
)
from ppl.data.split_settings import SplitSettings
from ppl.data.synthetic import SyntheticSettings
from ppl.export.package import ExportSettings
from ppl.inspection.calibrate import ThresholdSettings, sound_files
from ppl.judge.evaluation import EvaluateSettings
from ppl.judge.leakage import AuditSettings
from ppl.labeling.pseudo_masks import PseudoLabelSettings
from ppl.labeling.ranking import RankingSettings
from ppl.methods.at_once import SETTINGS as ONCE
from ppl.methods.choose import MethodSettings
from ppl.network.network import NetworkSettings
from ppl.network.predict import TestTimeSettings
from ppl.network.resize import ImageSettings
from ppl.network.runtime import InferenceSettings
from ppl.scores.bootstrap import IntervalSettings
from ppl.students.cutmix import HARDLY, CutMixSettings, share_that_fits
from ppl.students.def_up import RetrainSettings
from ppl.students.fall_back import FallBackSettings
from ppl.students.mean_teacher import MeanTeacherSettings
from ppl.training.compute import ComputeSettings
from ppl.training.loss import LossSettings
from ppl.training.optimizer import OptimizerSettings
from ppl.training.paste import PasteSettings
from ppl.training.sampling import SamplingSettings
from ppl.training.selection import SelectionSettings
from ppl.training.strong_augment import StrongAugmentSettings
from ppl.training.teacher import SupervisedSettings
from ppl.training.weak_augment import WeakAugmentSettings

SECTIONS: dict[str, type] = {
    "seed": int,
    "synthetic": SyntheticSettings,
    "data": DataSettings,
    "split": SplitSettings,
    "audit": AuditSettings,
    "model": NetworkSettings,
    "image": ImageSettings,
    "weak_augment": WeakAugmentSettings,
    "sampling": SamplingSettings,
    "paste": PasteSettings,
    "loss": LossSettings,
    "optimizer": OptimizerSettings,
    "selection": SelectionSettings,
    "fall_back": FallBackSettings,
    "compute": ComputeSettings,
    "inference": InferenceSettings,
    "method": MethodSettings,
    "train_supervised": SupervisedSettings,
    "ranking": RankingSettings,
    "pseudo_label": PseudoLabelSettings,
    "strong_augment": StrongAugmentSettings,
    "cutmix": CutMixSettings,
    "mean_teacher": MeanTeacherSettings,
    "retrain_reliable": RetrainSettings,
    "retrain_final": RetrainSettings,
    **ONCE,
    "predict": TestTimeSettings,
    "thresholds": ThresholdSettings,
    "evaluate": EvaluateSettings,
    "intervals": IntervalSettings,
    "annotate_next": AnnotateSettings,
    "export": ExportSettings,
}


def check_all(params: dict[str, Any]) -> None:
    """Check the whole of params.yaml.

    Raises:
        InputError: all that is wrong, a line each: the key, what came, what is allowed.
    """
    settings: dict[str, Any] = {}
    problems = [
        f"{PARAMS_FILE}: {brief_key(name)}: unknown section; allowed: {', '.join(SECTIONS)}"
        for name in params
        if name not in SECTIONS
    ]
    for name, kind in SECTIONS.items():
        if name not in params:
            problems.append(f"{PARAMS_FILE}: section `{name}` is missing")
            continue
        try:
            settings[name] = check(name, params[name], kind)
        except InputError as error:
            problems.append(str(error))
    if not problems:
        problems = list(_contradictions(settings))
    if problems:
        raise InputError("\n".join(problems))


def _contradictions(settings: dict[str, Any]) -> Iterator[str]:
    """What no section shows by itself."""
    teacher = settings["train_supervised"]
    if teacher.snapshots > teacher.iterations:
        yield (
            f"train_supervised.snapshots is {teacher.snapshots}, but there are only "
            f"{teacher.iterations} iterations to take them from"
        )
    cutmix, size = settings["cutmix"], settings["image"].size
    if cutmix.enabled and share_that_fits(size, cutmix) < HARDLY:
        yield (
            f"cutmix.boxes {cutmix.boxes} hardly ever cover between cutmix.area_min "
            f"{cutmix.area_min} and cutmix.area_max {cutmix.area_max} of {size[0]} x {size[1]} "
            "pixels: widen that range or lower cutmix.boxes"
        )
    if cutmix.enabled and cutmix.sure_by == "mean_teacher" and not settings["mean_teacher"].enabled:
        yield (
            "cutmix.sure_by is mean_teacher, but mean_teacher.enabled is false: set "
            "mean_teacher.enabled: true, or cutmix.sure_by: network"
        )
    name = settings["method"].name
    if settings["compute"].compile and name in ("unimatch", "unimatch_v2", "prevmatch"):
        yield (
            f"method.name {name} drops features inside the network, which a compiled network does "
            "not see: set compute.compile: false"
        )
    if settings["selection"].by == "validation" and settings["split"].validation_fraction == 0:
        yield (
            "selection.by is validation, but split.validation_fraction is 0: raise it, or set "
            "selection.by: last"
        )


def stop_without_data(data: DataSettings, split: SplitSettings) -> None:
    """Say early, and better than DVC does for a missing dependency, what has to be put where.

    Data that the pipeline makes itself, or that a .dvc file can fetch, need not be there yet.

    Raises:
        InputError: the folder of the data set or of the split lists is missing, DVC cannot
            record the name of one of its files, or the project lies in the data set.
    """
    root = Path(data.root)
    here = Path.cwd().resolve()
    if root.resolve() in (here, *here.parents):
        raise InputError(
            f"the folder {root} (data.root) holds the project itself, so every run would change "
            "the data: give the data set a folder of its own, as data/raw/my_parts"
        )
    if data.name != "synthetic" and not _tracked(root):
        if not root.exists() and not root.is_absolute() and _COPIES in Path.cwd().as_posix():
            raise InputError(
                f"the folder {root} (data.root) is not in this copy of the project, in which DVC "
                f"runs experiments by --temp and --queue: Git ignores it. {_remedy(root)}"
            )
        stop_unless_there(root, data)
    stop_at_odd_names(root)
    if not Path(split.lists).is_dir():
        raise InputError(
            f"the folder {split.lists} (split.lists) does not exist: it holds labeled.txt, "
            "unlabeled.txt and val.txt; to split by fractions, write `lists: data/lists`"
        )


_COPIES = "/.dvc/tmp/exps/"
"""Stands in the path of every copy of a project in which DVC runs an experiment."""


def data_note(data: DataSettings) -> str:
    """That experiments in copies of the project will not find the data; "" where they will."""
    root = Path(data.root)
    if data.name == "synthetic" or root.is_absolute() or _tracked(root) or not root.exists():
        return ""
    asked = ["git", "check-ignore", "--quiet", str(root)]
    if subprocess.run(asked, check=False, capture_output=True).returncode != 0:
        return ""
    return (
        f"note: Git ignores {root} (data.root), so experiments by --temp and --queue, which run in "
        f"copies of the project, will not find it. {_remedy(root)}"
    )


def _tracked(root: Path) -> bool:
    """Whether a .dvc file tells where the data come from."""
    return root.with_name(f"{root.name}.dvc").exists()


def _remedy(root: Path) -> str:
    return (
        f"Give data.root an absolute path, or run `dvc add {root}` and `git add {root}.dvc`, then "
        "commit"
    )


def check_project() -> str:
    """Check params.yaml and the data folder; DVC itself stops at some mistakes with less to say.

    Returns what a person should know all the same: `data_note`.

    Raises:
        InputError: as `check_all`, `stop_without_data` and `sound_files`; classes that do not fit
            the data set.
    """
    check_all(read_params())
    data = section("data", DataSettings)
    dataset_info(data)
    stop_without_data(data, section("split", SplitSettings))
    sound_files(Path(section("thresholds", ThresholdSettings).sound_images))
    return data_note(data)
