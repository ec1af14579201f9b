"""From images to outcomes: read ahead, predicted together, judged and written behind.

Axes: H height, W width, C classes.
"""

import errno
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ppl.core.errors import InputError
from ppl.images.pictures import write_indices
from ppl.station.decode import MOST_AHEAD, Decoded, decoded_ahead
from ppl.station.defects import BACKGROUND, find_defects, likeliest, score_of
from ppl.station.folder import Found
from ppl.station.overlay import draw_overlay
from ppl.station.places import overlay_of
from ppl.station.predictor import Predictor
from ppl.station.results import Outcome, written

THREADS = 4
"""That read, and that write."""

NO_MEMORY = "memory did not suffice to predict it: cut it into tiles, or take a larger machine"
NO_NAME = "the place of the results takes no file of its name: rename it"
NO_NUMBER = "the model gives no number for it (NaN): its weights are damaged, or overflow"

_NAME_REFUSED = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Writer:
    """Judges an image by its probabilities, and writes its pictures."""

    predictor: Predictor
    out: Path
    overlays: bool

    def __call__(self, decoded: Decoded, prob_CHW: Probabilities, outcome: Outcome) -> Outcome:
        """The outcome with all that the probabilities tell."""
        began = time.perf_counter()
        # softmax makes a pixel's classes NaN together
        if np.isnan(prob_CHW[BACKGROUND].max()):
            return replace(outcome, mask="", error=NO_NUMBER)
        try:
            judged, error = self._judged(decoded, prob_CHW, outcome), ""
        except MemoryError:
            error = NO_MEMORY
        except InputError as problem:
            if not _of_name(problem.__cause__):
                raise
            error = NO_NAME
        if error:
            for picture in (outcome.mask, overlay_of(outcome.mask)):
                with suppress(OSError):
                    (self.out / picture).unlink()
            return replace(outcome, mask="", error=error)
        return replace(judged, seconds=outcome.seconds + time.perf_counter() - began)

    def _judged(self, decoded: Decoded, prob_CHW: Probabilities, outcome: Outcome) -> Outcome:
        mask = likeliest(prob_CHW)
        thresholds = self.predictor.thresholds
        defects = find_defects(prob_CHW, mask, thresholds)
        score = score_of(defects)
        counts = [int(np.count_nonzero(mask == index)) for index in range(len(prob_CHW))]
        judged = replace(
            outcome,
            score=score,
            defective=thresholds.defective(score),
            areas=tuple(counts),
            defects=tuple(defects),
        )
        self._write(decoded, mask, judged)
        return judged

    def _write(self, decoded: Decoded, mask: NDArray[np.uint8], outcome: Outcome) -> None:
        file = self.out / outcome.mask
        with written(file):
            write_indices(file, mask, self.predictor.colours)
            if self.overlays:
                assert decoded.pixels is not None
                file = self.out / overlay_of(outcome.mask)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(
                    draw_overlay(decoded.pixels, mask, outcome.defects, self.predictor)
                )


def outcomes(
    blocks: Iterable[Sequence[Found]],
    wanted: Callable[[Found], bool],
    mask_of: Callable[[str], str],
    writer: Writer,
    stop: Event,
) -> Iterator[Outcome]:
    """What becomes of each wanted image, in order.

    Args:
        blocks: images that are predicted together, for a prediction may depend in its last digits
            on how many there are. Unwanted ones are predicted and not written.
        mask_of: the place of an image's mask in the results; called in order.
        stop: once it is set, no further block is begun.
    """
    most = writer.predictor.at_once
    begun: deque[int] = deque()

    def images() -> Iterator[Found]:
        for block in blocks:
            if stop.is_set():
                return
            begun.append(len(block))
            yield from block

    waiting: deque[tuple[int, Future[Outcome]]] = deque()
    with ThreadPoolExecutor(THREADS) as readers, ThreadPoolExecutor(THREADS) as writers:
        stream = decoded_ahead(images(), readers, most)
        for first in stream:
            block = chain([first], islice(stream, begun.popleft() - 1))
            for decoded, found in _predicted(writer.predictor, block):
                if not wanted(decoded.found):
                    continue
                waiting.append((decoded.count, _started(decoded, found, mask_of, writer, writers)))
                # else they would lie in memory while the next ones are predicted
                del decoded, found
                while waiting and (
                    waiting[0][1].done()
                    or len(waiting) > most
                    or sum(count for count, _ in waiting) > MOST_AHEAD
                ):
                    yield waiting.popleft()[1].result()
        while waiting:
            yield waiting.popleft()[1].result()


def _started(
    decoded: Decoded,
    found: tuple[Probabilities | None, Outcome],
    mask_of: Callable[[str], str],
    writer: Writer,
    writers: ThreadPoolExecutor,
) -> Future[Outcome]:
    prob, outcome = found
    if prob is None:
        ready: Future[Outcome] = Future()
        ready.set_result(outcome)
        return ready
    named = replace(outcome, mask=mask_of(outcome.found.name))
    return writers.submit(writer, decoded, prob, named)


def _predicted(
    predictor: Predictor, block: Iterable[Decoded]
) -> Iterator[tuple[Decoded, tuple[Probabilities | None, Outcome]]]:
    """Each image of a block with its probabilities, and what is known of its outcome."""
    for group in _groups(block):
        whole = _together(predictor, [d.pixels for d in group if d.pixels is not None])
        for decoded in group:
            outcome = Outcome(decoded.found, decoded.stamp, decoded.seconds, decoded.error)
            if decoded.pixels is None:
                yield decoded, (None, outcome)
                continue
            prob, seconds = next(whole)
            seconds += decoded.seconds
            error = "" if prob is not None else NO_MEMORY
            yield decoded, (prob, replace(outcome, seconds=seconds, error=error))
            del prob


def _groups(block: Iterable[Decoded]) -> Iterator[list[Decoded]]:
    """Parts of a block that memory holds."""
    group: list[Decoded] = []
    for decoded in block:
        if group and sum(d.count for d in group) + decoded.count > MOST_AHEAD:
            yield group
            group = []
        group.append(decoded)
    if group:
        yield group


def _together(
    predictor: Predictor, images: Sequence[NDArray[np.uint8]]
) -> Iterator[tuple[Probabilities | None, float]]:
    """The probabilities of each image, and seconds; None where memory does not suffice for one."""
    done, share = 0, 0.0
    began = time.perf_counter()
    try:
        for prob in predictor.probabilities(images):
            seconds = time.perf_counter() - began
            if not done:
                # before the first, all went through the network
                share = seconds / len(images)
            done += 1
            yield prob, share if done == 1 else share + seconds
            del prob
            began = time.perf_counter()
        return
    except Exception as error:  # each runtime has exceptions of its own
        if not _of_memory(error):
            raise
    for image in images[done:]:
        began = time.perf_counter()
        yield _alone(predictor, image), time.perf_counter() - began


def _alone(predictor: Predictor, image: NDArray[np.uint8]) -> Probabilities | None:
    try:
        [prob] = predictor.probabilities([image])
    except Exception as error:  # each runtime has exceptions of its own
        if not _of_memory(error):
            raise
        return None
    return prob


def _of_memory(error: Exception) -> bool:
    """PyTorch and ONNX Runtime have errors of their own for it; the latter's derive from none."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or "alloc" in said or "out of memory" in said


def _of_name(error: BaseException | None) -> bool:
    """Whether a file system refused a name, as one of a memory card does `a?.png`."""
    return isinstance(error, OSError) and error.errno in _NAME_REFUSED
