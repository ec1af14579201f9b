"""What stops a run, found in seconds: the data as `prepare` would read them, and the network.

Nothing is written. Files are looked at for a few seconds, those with masks first; `prepare` looks
at all of them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ppl.core.errors import InputError
from ppl.core.settings import section
from ppl.data.adapters.base import DataSettings, Sample, dataset_info, load_samples
from ppl.data.background import background_warning
from ppl.data.prepare import as_meant, scan, stop_at_empty_set
from ppl.data.split_settings import SplitSettings
from ppl.labeling.pseudo_masks import PseudoLabelSettings
from ppl.network.encoder_weights import read_weights_file
from ppl.network.network import NetworkSettings
from ppl.network.predict import TestTimeSettings
from ppl.network.resize import ImageSettings
from ppl.network.trial import scales_seen, stop_unless_it_runs
from ppl.tools.next_test import planned_split
from ppl.tools.raw_counts import NO_SETS, Parts, known_parts

SECONDS = 5.0
"""How long files are looked at."""


def check_contents(seconds: float = SECONDS) -> list[str]:
    """Check the data and the network that params.yaml names, and return what a person should know.

    Raises:
        InputError: what would stop a run, a line each.
    """
    notes: list[str] = []
    problems: list[str] = []
    looks: tuple[Callable[[], list[str]], ...] = (partial(_data, seconds), _network)
    for look in looks:
        try:
            notes += look()
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return notes


def _data(seconds: float) -> list[str]:
    data, split = section("data", DataSettings), section("split", SplitSettings)
    root = Path(data.root)
    if data.name == "synthetic" or not root.exists():
        # the first stages draw the former, and a .dvc file says where the latter come from
        return []
    samples = load_samples(root, data)
    _stop_at_split(root, samples, data, split)
    looked = _look(root, samples, data, seconds)
    warning = background_warning(data.classes)
    return [*([f"warning: {warning}"] if warning else []), *looked]


def _stop_at_split(
    root: Path, samples: Sequence[Sample], data: DataSettings, split: SplitSettings
) -> None:
    """Tables, lists and fractions, as far as no image has to be opened for them.

    Where likeness tells the parts, these decide who is tested, and only a run can tell.
    """
    parts = known_parts(root, samples, data, NO_SETS)
    if parts is None and any(one.annotated for one in samples):
        return
    known = parts or Parts({}, sure=False)
    seed = section("seed", int)
    stop_at_empty_set(planned_split(root, samples, known, None, data, split, seed).split)


def _look(root: Path, samples: Sequence[Sample], data: DataSettings, seconds: float) -> list[str]:
    """Decode what there is time for; all of it says more than one by one."""
    info = dataset_info(data)
    scans = scan(sorted(samples, key=lambda one: not one.annotated), data, info, seconds=seconds)
    if len(scans) < len(samples):
        return [
            f"note: {len(scans):,} of {len(samples):,} images were looked at in {seconds:g} "
            "seconds; `prepare` looks at all"
        ]
    as_meant(root, {one.id: one for one in samples}, scans, data, info)
    return []


def _network() -> list[str]:
    model = section("model", NetworkSettings)
    image = section("image", ImageSettings)
    asked = (section("predict", TestTimeSettings), section("pseudo_label", PseudoLabelSettings))
    stop_unless_it_runs(model, image.size, scales_seen(image, *(one.scales for one in asked)))
    if model.encoder_weights not in (None, "imagenet"):
        read_weights_file(Path(str(model.encoder_weights)))
    return []
