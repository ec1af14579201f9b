"""`predict.py` of an exported folder: what every prediction offers, and a check of the machine."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ppl.core.errors import InputError
from ppl.core.onnx_runtimes import ONNXRUNTIME, RUNTIMES
from ppl.station.command import answer, new_parser
from ppl.station.onnx_predictor import OnnxPredictor, load_onnx
from ppl.station.options import IMAGES
from ppl.station.samples import IN_FLOATS, Expected, check_samples, in_int8


def run(folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for, and return the exit status.

    Args:
        folder: the exported folder.
        arguments: the words behind the program's name; None takes those of this process.
    """
    parser = new_parser("predict.py")
    parser.add_argument("images", metavar="IMAGES", type=Path, nargs="*", help=IMAGES)
    parser.add_argument(
        "--check",
        action="store_true",
        help="predict the samples, and say whether masks and verdicts are as they were",
    )
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        default=ONNXRUNTIME,
        help="what runs the model; openvino where it was compared",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="take the network in 8-bit integers, where there is one: faster, other last digits",
    )
    words, nothing = vars(parser.parse_args(arguments)), vars(parser.parse_args([]))
    check, int8, runtime = words.pop("check"), words.pop("int8"), words.pop("runtime")
    load = partial(load_onnx, runtime=runtime, int8=int8)
    if not check and not words["images"]:
        parser.error("name IMAGES: a folder, several, or files; or give --check")
    if not check:
        return answer(load, folder, words)
    if left := [name for name in words if words[name] != nothing[name]]:
        parser.error(f"--check takes --runtime and --int8, but {', '.join(left)} came with it")
    return _check(folder, load, in_int8(runtime) if int8 else IN_FLOATS)


def _check(folder: Path, load: Callable[[Path], OnnxPredictor], expected: Expected) -> int:
    """The exit status: 0 where masks and verdicts are equal."""
    try:
        predictor = load(folder)
        count, differences = check_samples(folder, predictor, expected)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    if differences:
        print("\n".join(differences), file=sys.stderr)
        print(
            f"model {predictor.digest}: {len(differences)} differences on {count} samples: install "
            "the versions of requirements.txt; if these are installed, do not use this machine",
            file=sys.stderr,
        )
        return 1
    print(f"model {predictor.digest}: masks and verdicts of all {count} samples are equal")
    return 0
