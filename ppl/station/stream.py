"""From images to outcomes: read ahead, predicted together, judged and written behind.

Axes: H height, W width, C classes.
"""

import errno
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl.core.errors import InputError
from ppl.images.pictures import write_indices
from ppl.station.appearance import appearance_of
from ppl.station.decode import MOST_AHEAD, Begun, Decoded, decoded_ahead
from ppl.station.defects import BACKGROUND
from ppl.station.folder import Found
from ppl.station.overlay import draw_overlay
from ppl.station.places import overlay_of
from ppl.station.predictor import Predictor
from ppl.station.results import Outcome, written
from ppl.station.verdict import Verdict, verdict_of_bands

THREADS = 4
"""That read, and that write."""

PATIENCE = 0.02
"""Seconds for which a network on the processor waits until threads are done.

It shares each of its layers among all cores, and waits for the slowest: a core that does other work
halves its speed. A share on the network must not hold it up."""

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

    def __call__(
        self, decoded: Decoded, found: Probabilities | Verdict, outcome: Outcome
    ) -> Outcome:
        """The outcome with the verdict, if it is there already, or with all it takes to find it."""
        began = time.perf_counter()
        error = ""
        try:
            if not isinstance(found, Verdict):
                found = verdict_of_bands(_numbers([found]), self.predictor.thresholds)
            outcome = _judged(outcome, found, len(self.predictor.classes))
            outcome = self._compared(outcome, decoded)
            self._write(decoded, found.mask, outcome)
        except _NoNumberError:
            error = NO_NUMBER
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
            return Outcome(outcome.found, outcome.stamp, outcome.seconds, error)
        return replace(outcome, seconds=outcome.seconds + time.perf_counter() - began)

    def _compared(self, outcome: Outcome, decoded: Decoded) -> Outcome:
        """With how the image looks, beside those of the training."""
        assert decoded.pixels is not None
        seen, reference = appearance_of(decoded.pixels), self.predictor.reference
        return replace(
            outcome, appearance=seen, unusual=reference.unusual(seen) if reference else ""
        )

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


class _NoNumberError(Exception):
    """A model whose softmax is NaN."""


def _numbers(bands: Iterable[Probabilities]) -> Iterator[Probabilities]:
    for band in bands:
        # softmax makes a pixel's classes NaN together
        if np.isnan(band[BACKGROUND].max()):
            raise _NoNumberError
        yield band


def _judged(outcome: Outcome, verdict: Verdict, classes: int) -> Outcome:
    mask = verdict.mask
    return replace(
        outcome,
        score=verdict.score,
        defective=verdict.defective,
        areas=tuple(int(np.count_nonzero(mask == index)) for index in range(classes)),
        defects=tuple(verdict.defects),
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
    sizes: deque[int] = deque()

    def images() -> Iterator[Found]:
        for block in blocks:
            if stop.is_set():
                return
            sizes.append(len(block))
            yield from block

    reading: Begun[Decoded] = deque()
    waiting: Begun[Outcome] = deque()

    def settle() -> None:
        if writer.predictor.on_processor:
            begun: list[Future[Any]] = [work for _, work in reading]
            wait(begun + [work for _, work in waiting], PATIENCE)

    with ThreadPoolExecutor(THREADS) as readers, ThreadPoolExecutor(THREADS) as writers:
        stream = decoded_ahead(images(), readers, most, reading)
        for first in stream:
            block = chain([first], islice(stream, sizes.popleft() - 1))
            for decoded, found in _predicted(writer.predictor, block, settle):
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
    found: tuple[Probabilities | Verdict | None, Outcome],
    mask_of: Callable[[str], str],
    writer: Writer,
    writers: ThreadPoolExecutor,
) -> Future[Outcome]:
    judged, outcome = found
    if judged is None:
        ready: Future[Outcome] = Future()
        ready.set_result(outcome)
        return ready
    named = replace(outcome, mask=mask_of(outcome.found.name))
    return writers.submit(writer, decoded, judged, named)


def _predicted(
    predictor: Predictor, block: Iterable[Decoded], settle: Callable[[], None]
) -> Iterator[tuple[Decoded, tuple[Probabilities | Verdict | None, Outcome]]]:
    """Each image of a block with its probabilities, and what is known of its outcome.

    A very large one comes with its verdict, since its probabilities would not fit into memory.
    """
    for group in _groups(block):
        if group[0].count > MOST_AHEAD:
            yield group[0], _by_bands(predictor, group[0])
            continue
        settle()
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


def _by_bands(predictor: Predictor, decoded: Decoded) -> tuple[Verdict | None, Outcome]:
    assert decoded.pixels is not None
    began = time.perf_counter()
    verdict, error = None, ""
    try:
        verdict = verdict_of_bands(_numbers(predictor.bands(decoded.pixels)), predictor.thresholds)
    except _NoNumberError:
        error = NO_NUMBER
    except Exception as problem:  # each runtime has exceptions of its own
        if not _of_memory(problem):
            raise
        error = NO_MEMORY
    seconds = decoded.seconds + time.perf_counter() - began
    return verdict, Outcome(decoded.found, decoded.stamp, seconds, error)


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
