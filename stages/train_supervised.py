"""Phase 1: labeled images -> teacher and the snapshots that the ranking compares."""

from pathlib import Path

from ppl.core import processes
from ppl.core.seeds import derived_seed
from ppl.core.settings import section
from ppl.images.sets import read_dataset_info, read_image_set
from ppl.network.encoder_weights import start_from_encoder_weights
from ppl.network.network import NetworkSettings, Origin, new_network, pick_device, save_network
from ppl.network.resize import ImageSettings
from ppl.run.stage import run
from ppl.training.checkpoint import checkpoint_of
from ppl.training.curve import write_training_curve
from ppl.training.loop import ComputeSettings, OptimizerSettings, SelectionSettings
from ppl.training.loss import LossSettings
from ppl.training.paste import PasteSettings
from ppl.training.sampling import SamplingSettings
from ppl.training.strong_augment import StrongAugmentSettings
from ppl.training.supervised import SupervisedSettings, train_supervised
from ppl.training.weak_augment import WeakAugmentSettings


def main(
    *,
    labeled: Path,
    validation: Path,
    dataset: Path,
    encoder: Path,
    teacher: Path,
    snapshots: Path,
    curve: Path,
) -> None:
    """Train the teacher on the labeled images alone."""
    seed = section("seed", int)
    device = pick_device()
    network = new_network(
        section("model", NetworkSettings),
        len(read_dataset_info(dataset).classes),
        seed=derived_seed(seed, "teacher", "weights"),
    )
    start_from_encoder_weights(network, encoder)
    with checkpoint_of("train_supervised") as checkpoint:
        training = train_supervised(
            network.to(device),
            read_image_set(labeled),
            read_image_set(validation),
            image=section("image", ImageSettings),
            weak=section("weak_augment", WeakAugmentSettings),
            strong=section("strong_augment", StrongAugmentSettings),
            sampling=section("sampling", SamplingSettings),
            paste=section("paste", PasteSettings),
            loss=section("loss", LossSettings),
            optimizer=section("optimizer", OptimizerSettings),
            selection=section("selection", SelectionSettings),
            compute=section("compute", ComputeSettings),
            supervised=section("train_supervised", SupervisedSettings),
            seed=seed,
            device=device,
            checkpoint=checkpoint,
        )
        if not processes.is_first():
            return
        save_network(teacher, network, training.kept, Origin("teacher", training.kept_iteration))
        for number, (iteration, state) in enumerate(training.snapshots, start=1):
            save_network(snapshots / str(number), network, state, Origin("teacher", iteration))
        write_training_curve(curve, training, model="teacher")


if __name__ == "__main__":
    run(main)
