"""Phase 1: labeled images -> teacher and the snapshots that the ranking compares."""

from pathlib import Path

from ppl import processes
from ppl.checkpoint import checkpoint_of
from ppl.encoder_weights import start_from_encoder_weights
from ppl.image_set import read_dataset_info, read_image_set
from ppl.loss import LossSettings
from ppl.network import NetworkSettings, Origin, new_network, pick_device, save_network
from ppl.paste import PasteSettings
from ppl.resize import ImageSettings
from ppl.sampling import SamplingSettings
from ppl.seeds import derived_seed
from ppl.settings import section
from ppl.stage import run
from ppl.strong_augment import StrongAugmentSettings
from ppl.supervised import SupervisedSettings, train_supervised
from ppl.training import ComputeSettings, OptimizerSettings, SelectionSettings
from ppl.training_curve import write_training_curve
from ppl.weak_augment import WeakAugmentSettings


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
