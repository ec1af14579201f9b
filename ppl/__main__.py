"""python -m ppl COMMAND: what a person starts by hand; `python -m ppl --help` lists it.

This file names commands, arguments and their defaults. What a command does stands in `ppl/tools/`
and is imported inside of it, so that help comes at once.
"""

import errno
import itertools
from pathlib import Path
from typing import Any

import click

from ppl.core.errors import InputError
from ppl.formats.options import NAMES as FORMATS
from ppl.station.options import DEFAULT_OUT, OPTIONS, OUT, seconds

SCORES = [Path("metrics", f"{name}.json") for name in ("copycat", "teacher", "student_1", "final")]

NOT_WRITTEN = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
"""What the system says where a file may not, or cannot, be written."""


class Commands(click.Group):
    """Lists commands as they stand here, and prints what a user can mend without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno not in NOT_WRITTEN:
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}") from error


def example(words: str) -> str:
    """The end of a command's help."""
    return f"\b\nExample:\n  python -m ppl {words}"


def jobs(command: Any) -> Any:
    """The option that `queue`, `seeds` and `folds` share."""
    about = "How many experiments run at a time, each with its share of the cores or its GPU."
    return click.option("--jobs", type=click.IntRange(min=1), metavar="N", default=1, help=about)(
        command
    )


def _seconds(ctx: click.Context, param: click.Parameter, value: str) -> float:
    try:
        return seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def asked(command: Any) -> Any:
    """The options of `predict`, which a station's own command line has, too."""
    for option in reversed(OPTIONS):
        flag = f"--{option.name.replace('_', '-')}"
        if isinstance(option.default, bool):
            command = click.option(flag, is_flag=True, help=option.about)(command)
        else:
            command = click.option(
                flag,
                callback=_seconds,
                metavar="SECONDS",
                default=str(option.default),
                help=option.about,
            )(command)
    return command


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog="Each command has a --help with an example. The pipeline itself runs by `make repro` or "
    "`dvc repro`; `make help` lists the short names.",
)
def main() -> None:
    """Segment surface defects when few images are annotated: what is started by hand."""


@main.command(epilog=example("check"))
def check() -> None:
    """Check all settings, the data and the network.

    Every wrong key of params.yaml is named with what came and what is allowed. Images, masks,
    tables and lists are read as a run would, for a few seconds, and the network is built. Masks
    among the pipeline's outputs that you edited are copied to data/rescued/ first. `make repro`
    does all this before anything runs.
    """
    from ppl.tools.rescue import rescue, rescued_words

    if kept := rescue():
        click.echo(rescued_words(kept))
    from ppl.all_settings import check_project
    from ppl.tools.check import check_contents

    notes = [check_project(), *check_contents()]
    click.echo("params.yaml and the data folder are in order")
    for note in filter(None, notes):
        click.echo(note, err=True)


@main.command(epilog=example("status"))
def status() -> None:
    """Say where the project stands, in about ten lines.

    What the raw data hold, what changed since the last run, which stages would run and how long
    they took, whether test is as it was, what to annotate, whether the model is of all this, and
    what is next. Nothing is written, and a run that goes on is not disturbed.
    """
    from ppl.tools.status import status

    def check(params: dict[str, Any]) -> None:
        from ppl.all_settings import check_all

        check_all(params)

    click.echo(status(check))


@main.command(epilog=example("scores"))
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
def scores(files: tuple[Path, ...]) -> None:
    """Print the scores on the test set as tables, in percent.

    FILES are metrics files, a row each; without any, those of the workspace: metrics/copycat.json,
    teacher.json, student_1.json and final.json, with the data set that they are of.
    """
    from ppl.judge.table import score_table
    from ppl.tools.scored import notes_on, scored_here, scores_here

    table = score_table(scores_here(files or SCORES))
    scored = None if files else scored_here(Path())
    note = notes_on(scored, Path()) if scored else ""
    of = f" of {scored.title}" if scored and scored.title else ""
    click.echo(f"Scores on the test set{of}, in percent:\n{table}")
    if note:
        click.echo(note, err=True)


@main.command(epilog=example("diff HEAD~1"))
@click.argument("rev", default="HEAD")
def diff(rev: str) -> None:
    """Compare the workspace's scores with those of a commit.

    Shows mIoU with its interval, IoU by class, image recall and image false alarms, old, new and
    their difference, and which settings changed. Where the test sets differ, the images of both are
    scored instead. REV is a commit, a branch or a tag (default: HEAD, the last commit).
    `dvc metrics diff` lists all numbers.
    """
    from ppl.tools.diff import difference

    click.echo(difference(rev))


@main.command(epilog=example("compare --since 3"))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("compare"),
    help="Folder for miou.png and scores.csv.",
)
@click.option(
    "--since",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    help="Experiments that began from the last N commits.",
)
def compare(out: Path, since: int) -> None:
    """Print tables of all experiments, and draw them.

    A row a label fraction and seed: mIoU with its interval, and the gain over the teacher.
    Experiments that differ in other settings get tables of their own.
    """
    from ppl.tools.compare import compare

    compare(out, since=since)


@main.command(epilog=example("queue --jobs 2"))
@jobs
def queue(jobs: int) -> None:
    """Run the queued experiments in the background.

    What several of them have in common is computed first, once. Queue some by
    `dvc exp run --queue -S 'split.labeled_fraction=1/8,1/4'`; `dvc queue status` shows them.
    """
    from ppl.tools.queue import run_queued

    run_queued(jobs)


@main.command(epilog=example("seeds --count 5 --jobs 2"))
@click.option("--count", type=click.IntRange(min=1), metavar="K", default=5, help="How many seeds.")
@jobs
def seeds(count: int, jobs: int) -> None:
    """Train with several seeds: how far do scores move?

    The seed of params.yaml and those that follow it, an experiment each. What has been run before
    with the same settings is not run again; after a failure the same command goes on.
    """
    from ppl.tools.repeat import judge_by_seeds

    judge_by_seeds(count, jobs=jobs)


@main.command(epilog=example("folds --count 5 --jobs 2"))
@click.option(
    "--count", type=click.IntRange(min=2), metavar="K", default=5, help="How many test sets."
)
@jobs
def folds(count: int, jobs: int) -> None:
    """Test every annotated part once, pooled over folds.

    Each fold is an experiment with a test set of its own; compare/folds/*.json has the scores over
    all of them. What has been run before with the same settings is not run again; after a failure
    the same command goes on.
    """
    from ppl.tools.repeat import judge_by_folds

    judge_by_folds(count, jobs=jobs)


class ListsOfValues(click.Command):
    """Takes `--seeds 0 1 2` for `--seeds 0 --seeds 1 --seeds 2`, and so for every such option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        many = {
            name
            for option in self.params
            if isinstance(option, click.Option) and option.multiple
            for name in option.opts
        }
        current, spread = "", []
        for word, following in itertools.pairwise([*args, "--"]):
            if word.startswith("--"):
                current = word if word in many else ""
                # one without a value is click's to refuse
                spread += [word] if not current or following.startswith("--") else []
            else:
                spread += [current, word] if current else [word]
        return super().parse_args(ctx, spread)


@main.command(cls=ListsOfValues, epilog=example("methods --seeds 0 1 2 --only cps_cutmix unimatch"))
@click.option(
    "--seeds",
    multiple=True,
    type=click.IntRange(min=0),
    metavar="SEED ...",
    help="Which seeds; that of params.yaml unless given.",
)
@click.option("--only", multiple=True, metavar="NAME ...", help="Which methods; all unless given.")
@jobs
def methods(seeds: tuple[int, ...], only: tuple[str, ...], jobs: int) -> None:
    """Hold other methods against PPL, at equal cost.

    Each method of method.name takes the iterations that cost as many passes of the network as PPL
    does by params.yaml, with each seed: an experiment each. The table, in compare/methods.md too,
    says how far each is from PPL, with intervals over seeds and parts. What has been run before is
    not run again; after a failure the same command goes on.
    """
    from ppl.tools.methods import judge_methods

    judge_methods(only, seeds, jobs=jobs)


@main.command(epilog=example("predict data/model photos --out predicted"))
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT_OUT, help=OUT
)
@asked
@click.pass_context
def predict(ctx: click.Context, /, model: Path, images: tuple[Path, ...], **words: Any) -> None:
    """Predict images: mask, defects and verdict of each.

    MODEL is the folder of a finished model; IMAGES are a folder, several, or files. What is done is
    not done again: after an interruption the same command goes on. The exit status is 3 where an
    image could not be read.
    """
    from ppl.tools.predict import predict

    ctx.exit(predict(model, images, words))


@main.command(epilog=example("report --out report.html"))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    help="The file to write.",
)
def report(out: Path) -> None:
    """Write one HTML file of scores, audit, plots and pictures.

    It needs no network and holds no script, so it can be mailed.
    """
    from ppl.tools.report import write_report

    write_report(out)


@main.command(epilog=example("annotate-next --to /mnt/share/to_correct"))
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for the copies; without it, to_correct in data.root where data.name is folder, "
    "else data/to_correct.",
)
def annotate_next(to: Path | None) -> None:
    """Copy out masks to correct, the most doubtful images first.

    Masks, list and contact sheet of data/annotate_next/ come into a folder of your own. Files that
    are there already are left alone, images of yours that have a mask left out.
    """
    from ppl.tools.annotate_next import hand_out

    click.echo(hand_out(to))


@main.command(epilog=example("review --masks both --reviewer 'Anna Berg'"))
@click.option(
    "--masks",
    type=click.Choice(["next", "pseudo", "both"]),
    default="next",
    help="Those to annotate next, all pseudo-masks, or one after the other.",
)
@click.option(
    "--predictions",
    "out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="OUT",
    help="In place of these, what `predict` left in OUT.",
)
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for decisions and masks; without it, review and corrected in data.root where "
    "data.name is folder, else data/review, and OUT_review beside OUT.",
)
@click.option("--reviewer", metavar="NAME", help="Who decides; without it, your account's name.")
def review(masks: str, out: Path | None, to: Path | None, reviewer: str | None) -> None:
    """Say yes or no to masks, on a page in your browser.

    It shows each image with the model's mask, and writes every decision at once. The page is for
    this machine alone, at an address that is printed; it needs no network.
    """
    from ppl.tools.review import review

    review(masks, out, to, reviewer)


@main.group(epilog=example("annotate out labelme /mnt/share/round_1"), no_args_is_help=False)
def annotate() -> None:
    """Hand images to an annotation tool, and take masks back.

    Out go the images that a person should annotate next, and those that a reviewer rejected; in
    come masks below corrected/ of the data, or below masks/.
    """


@annotate.command("out", epilog=example("annotate out labelme /mnt/share/round_1"))
@click.argument("format", type=click.Choice(FORMATS))
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def annotate_out(format: str, folder: Path) -> None:
    """Write what to annotate next as files of a tool.

    The images of data/annotate_next/list.csv with the masks to start from, and without a mask those
    that a reviewer called wrong. Images of yours that have a mask are left out; what lies in DIR
    already is left alone.
    """
    from ppl.tools.annotate_next import hand_out

    click.echo(hand_out(folder, format))


@annotate.command("in", epilog=example("annotate in label-studio export.json"))
@click.argument("format", type=click.Choice(FORMATS))
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DATA",
    help="The folder that holds images/; without it, data.root.",
)
@click.option("--replace", is_flag=True, help="Write over masks that differ.")
@click.option("--drawn", is_flag=True, help="Into masks/: drawn from scratch, not corrected.")
@click.option(
    "--checked",
    is_flag=True,
    help="A person has looked at every image: also those without an object, or as they went out.",
)
@click.pass_context
def annotate_in(
    ctx: click.Context,
    /,
    format: str,
    path: Path,
    root: Path | None,
    replace: bool,
    drawn: bool,
    checked: bool,
) -> None:
    """Take in what came back from a tool.

    PATH is a folder, a file or a .zip archive as the tool exports it. The masks come below
    corrected/ of the data, since they began as a model's. The exit status is 3 where an image was
    left out for an error; the table says which, and why.
    """
    from ppl.tools.annotate_in import Wanted, take_in

    said, well = take_in(format, path, root, Wanted(drawn, replace, checked))
    click.echo(said)
    ctx.exit(0 if well else 3)


@main.command(epilog=example("hold-split"))
def hold_split() -> None:
    """Keep each annotated image in test, or out of it.

    Writes held.csv into split.lists (data/lists/): what the last run tested on, and what it did
    not. Needed where likeness tells which photos show one part; a part that a name tells has its
    place by that name.
    """
    from ppl.tools.hold_split import hold_split

    click.echo(hold_split())


@main.command(epilog=example("fetch-data magnetic_tile --from /mnt/usb/tiles"))
@click.argument("name")
@click.option(
    "--from",
    "source",
    metavar="PLACE",
    help="A Git repository or a folder in place of the published address, as offline.",
)
def fetch_data(name: str, source: str | None) -> None:
    """Fetch a published data set into data/raw/NAME.

    NAME is that of a pin, data/published/NAME.dvc: magnetic_tile or neu_seg. Files other than
    those pinned are not kept.
    """
    from ppl.tools.fetch_data import fetch

    folder = fetch(name, source)
    click.echo(f"To use it, set in params.yaml:\n  data:\n    name: {name}\n    root: {folder}")


@main.command(epilog=example("unlock"))
def unlock() -> None:
    """Remove the empty list of locks that a kill -9 may leave.

    For when DVC calls its RWLock-file corrupted. Lists that are not empty stay.
    """
    from ppl.tools.unlock import unlock

    removed = unlock()
    click.echo("\n".join(f"removed {file}" for file in removed) or "no empty list of locks")


if __name__ == "__main__":
    main(prog_name="python -m ppl")
