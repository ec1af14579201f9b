"""Whether the images that arrive still look like those that a model was trained on.

Two cumulative sums a number of `Appearance`, one for a rise and one for a fall: Page, Biometrika
1954 (CUSUM). A single odd image is nothing; many that are a little off in the same way are.
"""

import math
from dataclasses import dataclass

from ppl.station.appearance import NUMBERS, Appearance, Reference

SLACK = 0.25
"""Standard deviations of an image by which it may be off without a sum rising."""

UNSURE = 2.0
"""Standard errors of the training images' mean that are added to the slack: with few of them nobody
knows exactly where they lie."""

LIMIT = 16.0
"""From where on a sum is an alarm. With images that vary as in training, independently of one
another, all six sums together gave at most 0.6 false alarms in 10,000 images, whether there were
50, 200 or 1,000 training images (simulated with 600,000 images each)."""

WORDS = {
    "brightness": ("brighter", "darker"),
    "contrast": ("richer in contrast", "poorer in contrast"),
    "sharpness": ("sharper or noisier", "more blurred"),
}
"""Of images whose number is higher, and lower."""


@dataclass(frozen=True)
class Alarm:
    """From some image on, one number has been higher or lower than in training."""

    number: str
    rises: bool
    since: str
    """The image from which on its sum has risen."""
    images: int
    """How many since then."""
    mean: float
    """Of the number over these."""
    middle: float
    """The median of the training images."""

    def __str__(self) -> str:
        words = WORDS[self.number][not self.rises]
        count = "image is" if self.images == 1 else f"{self.images:,} images are"
        return (
            f"drift: since {self.since} the {count} {words} than those the model was trained on "
            f"({self.number} {self.mean:.3g} on average, there {self.middle:.3g}): what it was "
            "measured to do may not hold for them"
        )


@dataclass
class _Sum:
    value: float = 0.0
    since: str = ""
    images: int = 0
    total: float = 0.0
    called: bool = False

    def add(self, excess: float, name: str, number: float) -> bool:
        """Whether it crosses the limit with this image, for the first time."""
        raised = max(0.0, self.value + excess)
        if self.value == 0:
            self.since, self.images, self.total = name, 0, 0.0
        self.value = raised
        self.images += 1
        self.total += number
        if self.called or raised <= LIMIT:
            return False
        self.called = True
        return True


class Drift:
    """The sums of a sequence of images. Each number gives one alarm a direction."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._slack = SLACK + UNSURE / math.sqrt(reference.images)
        self._sums = {(name, rises): _Sum() for name in NUMBERS for rises in (True, False)}

    def add(self, name: str, seen: Appearance) -> list[Alarm]:
        """The alarms that an image sets off.

        Args:
            name: of the image.
        """
        alarms = []
        for number, value in zip(NUMBERS, seen, strict=True):
            score = self._reference.normal_score(number, value)
            for rises, off in ((True, score), (False, -score)):
                of = self._sums[number, rises]
                if of.add(off - self._slack, name, value):
                    mean, middle = of.total / of.images, self._reference.middle(number)
                    alarms.append(Alarm(number, rises, of.since, of.images, mean, middle))
        return alarms
