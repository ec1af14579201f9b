"""What every training is made with: the sections of params.yaml that teacher and students share."""

from dataclasses import dataclass

from ppl.network.resize import ImageSettings
from ppl.training.compute import ComputeSettings
from ppl.training.loss import LossSettings
from ppl.training.optimizer import OptimizerSettings
from ppl.training.paste import PasteSettings
from ppl.training.sampling import SamplingSettings
from ppl.training.selection import SelectionSettings
from ppl.training.strong_augment import StrongAugmentSettings
from ppl.training.weak_augment import WeakAugmentSettings


@dataclass(frozen=True)
class Recipe:
    """The sections by their names, read with `sections(Recipe)`.

    What puts a training together takes one; what computes takes the section it needs.
    """

    image: ImageSettings
    weak_augment: WeakAugmentSettings
    strong_augment: StrongAugmentSettings
    sampling: SamplingSettings
    paste: PasteSettings
    loss: LossSettings
    optimizer: OptimizerSettings
    selection: SelectionSettings
    compute: ComputeSettings
