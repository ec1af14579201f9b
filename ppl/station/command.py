"""`predict`: the whole of it, for whoever loads the model, and a command line of its own."""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ppl.core.errors import InputError
from ppl.images.pictures import IMAGE_SUFFIXES
from ppl.station.arrivals import Arrivals
from ppl.station.drift import Drift
from ppl.station.folder import Found, Listing, Stamp, list_images, stop_at_wrong_paths
from ppl.station.options import (
    ABOUT,
    DEFAULT_OUT,
    IMAGES,
    MODEL,
    OPTIONS,
    OUT,
    Request,
    seconds,
)
from ppl.station.predictor import Predictor
from ppl.station.progress import Progress
from ppl.station.results import DEFECTIVE, RESULTS, SOUND, Outcome, Results, opened
from ppl.station.stream import Writer, outcomes

BROKEN = 3
"""The exit status where an image could not be read."""
INTERRUPTED = 130

Load = Callable[[Path], Predictor]


def main(load: Load, argv: Sequence[str], program: str = "predict.py") -> int:
    """Run the command line, and return its exit status.

    Args:
        load: makes a predictor of the model's folder.
        argv: the words behind the program's name.
    """
    parser = new_parser(program)
    parser.add_argument("model", metavar="MODEL", type=Path, help=MODEL)
    parser.add_argument("images", metavar="IMAGES", type=Path, nargs="+", help=IMAGES)
    words = vars(parser.parse_args(argv))
    return answer(load, words.pop("model"), words)


def new_parser(program: str) -> argparse.ArgumentParser:
    """A parser of all options; `model` and `images` are for the caller to add."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=ABOUT,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help=OUT)
    for option in OPTIONS:
        flag = f"--{option.name.replace('_', '-')}"
        if isinstance(option.default, bool):
            parser.add_argument(flag, action="store_true", help=option.about)
        else:
            parser.add_argument(
                flag, type=_seconds, metavar="SECONDS", default=option.default, help=option.about
            )
    return parser


def _seconds(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def answer(load: Load, model: Path, words: dict[str, Any]) -> int:
    """Do what the words ask for, and return the exit status; errors are said in a line.

    Args:
        words: the fields of `Request`.
    """
    try:
        return predict(load, model, Request(**words | {"images": tuple(words["images"])}))
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def predict(load: Load, model: Path, request: Request, stop: threading.Event | None = None) -> int:
    """Predict what is asked for, and return the exit status.

    It is 0 where all went well, 3 where an image could not be read, 130 where it was interrupted;
    0 of a watched folder.

    Args:
        load: makes a predictor of the model's folder.
        stop: ends the run once it is set, as Ctrl-C does.

    Raises:
        InputError: no image, a wrong model or folder of results, or nothing can be written.
    """
    stop = stop or threading.Event()
    stop_at_wrong_paths(request.images, request.out)
    listing = list_images(request.images, request.out)
    if request.watch:
        if files := [path for path in request.images if not path.is_dir()]:
            raise InputError(f"{files[0]} is a file, but --watch takes folders")
    elif listing.problems:
        raise InputError(listing.problems[0])
    elif not listing.found:
        raise InputError(
            f"no image in {', '.join(map(str, request.images))} ({listing.left_alone} other "
            f"files): expected names that end in {', '.join(IMAGE_SUFFIXES)}"
        )
    predictor = load(model)
    with (
        opened(request.out, predictor.digest, predictor.classes, request.images) as results,
        stopped_by(stop),
    ):
        run = _Run(request, predictor, results, stop)
        return run.watch() if request.watch else run.once(listing)


@contextmanager
def stopped_by(stop: threading.Event) -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM set `stop`; a second one does what it always does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.getsignal(name) for name in names}

    def restore() -> None:
        for name, handler in before.items():
            signal.signal(name, handler)

    def on_signal(*_: object) -> None:
        stop.set()
        restore()

    for name in names:
        signal.signal(name, on_signal)
    try:
        yield
    finally:
        restore()


class _Run:
    """One run: what it was asked for, and what it goes on from."""

    def __init__(
        self, request: Request, predictor: Predictor, results: Results, stop: threading.Event
    ) -> None:
        self._request, self._results, self._stop = request, results, stop
        self._at_once = predictor.at_once
        self._overlays = not request.no_overlays
        self._writer = Writer(predictor, request.out, self._overlays)
        self._drift = Drift(predictor.reference) if predictor.reference else None

    def once(self, listing: Listing) -> int:
        """Predict what is there and not done."""
        done = self._results.keep(listing.found, overlays=self._overlays)
        if done:
            print(f"{len(done):,} of {len(listing.found):,} images are done", file=sys.stderr)
        missing = []
        with Progress(len(listing.found) - len(done)) as progress:
            for outcome in self._outcomes(listing.found, lambda one: one.name not in done):
                if outcome.stamp is None:
                    missing.append(_line(outcome))
                else:
                    self._results.add(outcome)
                progress.update()
        for line in missing:
            print(line, file=sys.stderr)
        print(self._summary(listing))
        # in the order of names, whatever was predicted when
        for one in listing.found:
            self._look_for_drift(one.name)
        if self._stop.is_set():
            print("interrupted: the same command goes on", file=sys.stderr)
            return INTERRUPTED
        errors = any(self._error(one.name) for one in listing.found)
        return BROKEN if errors or missing else 0

    def watch(self) -> int:
        """Predict what arrives, until it is stopped."""
        request = self._request
        listing = list_images(request.images, request.out)
        self._results.keep(listing.found, overlays=self._overlays)
        for name in self._results.known:
            self._look_for_drift(name)
        arrivals = Arrivals(request.settle, request.patience)
        print("watching; Ctrl-C ends it", file=sys.stderr)
        said: set[str] = set()
        while not self._stop.is_set():
            began = time.monotonic()
            listing = list_images(request.images, request.out)
            ready = arrivals.ready(listing.found, self._is_done, began)
            problems = {*listing.problems, *arrivals.missing}
            for problem in sorted(problems - said):
                print(problem, file=sys.stderr, flush=True)
            said = problems
            took = time.monotonic() - began
            for outcome in self._outcomes(ready, lambda _: True):
                now = time.monotonic()
                if not outcome.error or arrivals.given_up(outcome.found, outcome.stamp, now):
                    self._results.add(outcome)
                    print(_line(outcome), flush=True)
                    self._look_for_drift(outcome.found.name)
                elif outcome.stamp is not None and outcome.found.name in self._results.known:
                    # else an image that is no more would keep its verdict for as long
                    self._results.drop([outcome.found.name])
            # a folder that takes long to list is not listed all the time
            self._stop.wait(max(request.every, took))
        return 0

    def _is_done(self, one: Found, stamp: Stamp) -> bool:
        known = self._results.known.get(one.name)
        return known is not None and known.stamp == stamp

    def _outcomes(
        self, found: Sequence[Found], wanted: Callable[[Found], bool]
    ) -> Iterator[Outcome]:
        """Of all wanted images, in blocks that are the same whatever is done."""

        def blocks() -> Iterator[Sequence[Found]]:
            for start in range(0, len(found), self._at_once):
                block = found[start : start + self._at_once]
                if any(map(wanted, block)):
                    yield block

        return outcomes(blocks(), wanted, self._place, self._writer, self._stop)

    def _place(self, name: str) -> str:
        """Where an image's new mask goes; its former results go before that is written."""
        if name in self._results.known:
            self._results.drop([name])
        return self._results.places.mask_of(name)

    def _look_for_drift(self, name: str) -> None:
        known = self._results.known.get(name)
        if self._drift and known and known.appearance:
            for alarm in self._drift.add(name, known.appearance):
                print(alarm, file=sys.stderr, flush=True)

    def _error(self, name: str) -> str:
        known = self._results.known.get(name)
        return known.error if known else ""

    def _summary(self, listing: Listing) -> str:
        known = [self._results.known.get(one.name) for one in listing.found]
        verdicts = [one.verdict for one in known if one]
        broken = sum(bool(one.error) for one in known if one)
        words = [
            f"{len(verdicts):,} images: {verdicts.count(DEFECTIVE):,} defective",
            f"{verdicts.count(SOUND):,} sound",
        ]
        if broken:
            where = self._request.out / RESULTS
            words.append(f"{broken:,} not predicted (column `error` of {where} says why)")
        if unusual := sum(bool(one.unusual) for one in known if one):
            words.append(f"{unusual:,} unlike all training images (column `unusual`)")
        if listing.left_alone:
            words.append(f"{listing.left_alone:,} other files left alone")
        return ", ".join(words)


def _line(outcome: Outcome) -> str:
    name = outcome.found.name
    if outcome.error:
        return f"{name}: not predicted: {outcome.error}"
    odd = f", unlike all training images: {outcome.unusual}" if outcome.unusual else ""
    return f"{name}: {DEFECTIVE if outcome.defective else SOUND}, score {outcome.score:.6f}{odd}"
