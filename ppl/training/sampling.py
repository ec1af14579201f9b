"""How often a pass over the labeled images shows each: those with rare defects more often."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Annotated

from pydantic import Field

from ppl.core.settings import Settings


class SamplingSettings(Settings):
    """Section `sampling`."""

    repeat_below: Annotated[float, Field(ge=0, le=1)]


def repeat_factors(shown: Sequence[Collection[int]], below: float) -> list[float]:
    """How often, on average, a pass shows each image; 1 for those without a rare class.

    A class c that the share f(c) < `below` of the images shows is repeated sqrt(below / f(c))
    times; an image as often as the rarest class it shows. Source: Gupta et al., CVPR 2019 (LVIS),
    repeat factor sampling.

    Args:
        shown: the defect classes of each image.
        below: share of the images, 0-1; 0 repeats none.
    """
    images = Counter(c for classes in shown for c in set(classes))
    of_class = {c: max(1.0, math.sqrt(below * len(shown) / n)) for c, n in images.items()}
    return [max((of_class[c] for c in classes), default=1.0) for classes in shown]


def labeled_repeats(
    shown: Sequence[Collection[int]], settings: SamplingSettings
) -> list[float] | None:
    """`repeat_factors` of labeled images that show these defect classes; None: each once a pass."""
    return repeat_factors(shown, settings.repeat_below) if settings.repeat_below else None
