"""How many sound parts will be called defective: a bound that holds for whatever model.

The parts on which a threshold is chosen, and those of the line, have to be drawn alike; nothing
else is assumed. With the threshold at the (k + 1)-th highest score of n sound parts, the share of
all sound parts above it is Beta(k + 1, n - k) distributed, or smaller where scores are equal
(Wilks, Annals of Mathematical Statistics 12, 1941: distribution-free tolerance limits).
"""

import math


def bound(sound: int, called: int, confidence: float) -> float:
    """The share of false alarms, 0-1, that is not exceeded with `confidence` (0-1).

    Args:
        sound: sound parts on which the threshold was chosen.
        called: those of them that it lets be called defective, at most.
    """
    # it takes a tenth of a second to import, which a stage that promises nothing need not spend
    from scipy.special import betaincinv

    assert 0 <= called <= sound, f"{called} of {sound}"
    if called == sound:
        return 1.0
    return float(betaincinv(called + 1, sound - called, confidence))


def most_called(sound: int, false_alarms: float, confidence: float) -> int | None:
    """How many of `sound` parts may be called, so that `bound` stays at `false_alarms` or below.

    None where not even calling none is enough.
    """
    if bound(sound, 0, confidence) > false_alarms:
        return None
    low, high = 0, sound
    while high - low > 1:
        middle = (low + high) // 2
        if bound(sound, middle, confidence) <= false_alarms:
            low = middle
        else:
            high = middle
    return low


def parts_needed(false_alarms: float, confidence: float) -> int:
    """The least number of sound parts from which `false_alarms` can be promised at all."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - false_alarms))
