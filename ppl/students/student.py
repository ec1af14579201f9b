"""What the two retraining stages share: from prepared folders to a student on disk."""

from collections.abc import Sequence
from pathlib import Path

from ppl.core import processes
from ppl.core.seeds import derived_seed
from ppl.core.settings import section
from ppl.images.record import read_split_record
from ppl.images.sets import ImageSet, read_dataset_info, read_image_set
from ppl.network.encoder_weights import start_from_encoder_weights
from ppl.network.network import (
    NetworkSettings,
    Origin,
    SegmentationNetwork,
    load_network,
    new_network,
    pick_device,
    read_origin,
    save_network,
)
from ppl.network.resize import ImageSettings
from ppl.students.cutmix import CutMixSettings
from ppl.students.def_up import RetrainSettings
from ppl.students.fall_back import Counted, FallBackSettings, judge
from ppl.students.mean_teacher import MeanTeacherSettings
from ppl.students.retrain import retrain
from ppl.training.checkpoint import Checkpoint
from ppl.training.curve import write_training_curve
from ppl.training.loop import ComputeSettings, OptimizerSettings, SelectionSettings, State
from ppl.training.loss import LossSettings
from ppl.training.paste import PasteSettings
from ppl.training.sampling import SamplingSettings
from ppl.training.strong_augment import StrongAugmentSettings
from ppl.training.validation import validation_counts
from ppl.training.weak_augment import WeakAugmentSettings

UNCHECKED = (
    "{name}: no validation image shows a defect, so whether it is worse than the models before it "
    "is not known, and it is kept (fall_back). Raise split.validation_fraction or annotate more "
    "images to have it checked"
)
"""What to tell the user where `fall_back` has nothing to judge by."""


def train_student(
    name: str,
    *,
    budget: RetrainSettings,
    labeled: Path,
    validation: Path,
    unlabeled: Path,
    dataset: Path,
    record: Path,
    encoder: Path,
    before: Sequence[Path],
    masks: Sequence[Path],
    student: Path,
    curve: Path,
    checkpoint: Checkpoint,
) -> None:
    """Train a network on L and on the images that have a pseudo-mask in `masks`.

    Args:
        name: of the student; it owns the random draws and marks the curve.
        labeled, validation, unlabeled: prepared image sets.
        dataset: dataset.json.
        record: split.json.
        encoder: the folder that `import_encoder` left.
        before: the models that `fall_back` may end with. The first made the newest pseudo-masks,
            and `budget.start` may begin with it.
        student, curve: what is written.
        checkpoint: where an interrupted training goes on.

    Raises:
        InputError: wrong settings, or as `retrain`.
    """
    seed = section("seed", int)
    device = pick_device()
    if budget.start == "labeler":
        network = load_network(before[0], device)
    else:
        network = new_network(
            section("model", NetworkSettings),
            len(read_dataset_info(dataset).classes),
            seed=derived_seed(seed, name, "weights"),
        )
        start_from_encoder_weights(network, encoder)
    image = section("image", ImageSettings)
    validated = read_image_set(validation)
    training = retrain(
        network.to(device),
        read_image_set(labeled),
        validated,
        read_image_set(unlabeled),
        masks,
        image=image,
        weak=section("weak_augment", WeakAugmentSettings),
        strong=section("strong_augment", StrongAugmentSettings),
        cutmix=section("cutmix", CutMixSettings),
        sampling=section("sampling", SamplingSettings),
        paste=section("paste", PasteSettings),
        mean_teacher=section("mean_teacher", MeanTeacherSettings),
        loss=section("loss", LossSettings),
        optimizer=section("optimizer", OptimizerSettings),
        selection=section("selection", SelectionSettings),
        compute=section("compute", ComputeSettings),
        budget=budget,
        seed=seed,
        device=device,
        name=name,
        checkpoint=checkpoint,
    )
    kept, origin = training.kept, Origin(name, training.kept_iteration)
    fall_back = section("fall_back", FallBackSettings)
    if fall_back.enabled:
        # as they will be used: the training may have been compiled, or rounded to bfloat16
        after = load_network(before[0], device)
        after.load_state_dict(kept)
        parts = read_split_record(record).part_of(validated.ids)
        better = better_before(name, after, before, validated, parts, image, fall_back)
        if better is not None:
            kept, origin = better
    if processes.is_first():
        save_network(student, network, kept, origin)
        write_training_curve(curve, training, model=name)


def better_before(
    name: str,
    student: SegmentationNetwork,
    before: Sequence[Path],
    validation: ImageSet,
    parts: Sequence[str],
    image: ImageSettings,
    settings: FallBackSettings,
) -> tuple[State, Origin] | None:
    """The first of the models `before` that the student has to give way to; None: it is kept.

    Against each of them: what two students lose may be sure where what each loses is not. What the
    user should know of it is printed.
    """
    count = validation_counts(validation, image, student.classes)
    if count is None:
        print(UNCHECKED.format(name=name))
        return None
    found = Counted(name, count(student).cpu())
    device = next(student.parameters()).device
    earlier = {read_origin(folder): folder for folder in before}
    for origin, folder in earlier.items():
        network = load_network(folder, device)
        counts = count(network).cpu()
        verdict = judge(found, Counted(origin.training, counts), parts, settings)
        if verdict.message is not None:
            print(verdict.message)
        if not verdict.kept:
            return network.state_dict(), origin
    return None
