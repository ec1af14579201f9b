"""Whatever stands in params.yaml, the check takes it as it stands or refuses it by its key."""

import os
import random
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from ppl.all_settings import check_all
from ppl.core.errors import InputError
from ppl.core.settings import read_params

TEXT = (Path(__file__).parent.parent / "params.yaml").read_text(encoding="utf-8")
LINES = TEXT.splitlines()
SETTINGS = [number for number, line in enumerate(LINES) if re.match(r"(  )?\w+: +[^ #]", line)]
SECTIONS = [number for number, line in enumerate(LINES) if re.match(r"\w+:", line)]

LAUGHS = "[&a [x, x, x, x, x, x, x, x, x, x], " + ", ".join(
    f"&{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]" for n in range(9)
)
"""Of 500 letters: a thousand million once it is written out."""

TYPES = (
    *("null", "~", "true", "[]", "{}", '""', "x", "[1, x]", "{a: b}", "{a: {b: {c: 1}}}"),
    *("2024-01-01", "2024-13-45", "1:30", "0x1F", "0o17", "1_000", "!!binary aGk=", "!!set {a}"),
)
NUMBERS = (
    *(".nan", ".inf", "-.inf", "-1", "-0.5", "1e308", "1.0e+308", "1e999", "1.0e+999", "5.0e-324"),
    *(
        "9223372036854775808",
        "1" + "0" * 30,
        "-1" + "0" * 30,
        "1" + "0" * 5000,
        "0x" + "F" * 5000,
        "0",
        "65537",
    ),
)
STRINGS = (
    *('"$(touch x)"', "a`id`", "'a\"b'", "a;b", "a|b", "a && b", '"a\\nb"', '"\\0"', '"\\uD800"'),
    *("../../etc", '"~root"', "-rf", "x" * 100_000, '"\\x1b[2J"', '"%s{}"', "'${data.root}'"),
)
YAML = (
    *("!!python/object/apply:os.system [id]", "!!python/name:os.system", "!foo x", "*nowhere"),
    *("&a [*a]", "&a {b: *a}", f"{LAUGHS}]", "[" * 3000, "[" * 90 + "]" * 90, "{a: " * 3000),
    *("!!int x", "!!float x", "!!timestamp x", "!!bool x", "!!null x", "!!map x", "!!seq x"),
    *("{? [a] : b}", "{? {a: b} : c}", "{<<: 1}", "{<<: [1]}", "- x", ": :", "@x", "%x", "|", ">"),
    *("'open", '"open', "[open", "{open", "a: b: c", "\tx", "&a", "!!omap [a]", "!!pairs [a]"),
)
OPEN = ("'open", '"open')


def key_of(line: str) -> str:
    return line.split(":")[0].strip()


def with_value(dice: random.Random, lines: list[str]) -> str:
    """A key with another value; returns the key."""
    at = dice.choice(SETTINGS)
    value = dice.choice(dice.choice([TYPES, NUMBERS, STRINGS, YAML]))
    lines[at] = f"{lines[at].split(':')[0]}: {value}"
    # a quote that is left open may be closed by one below, and YAML stumbles there
    return "" if value in OPEN else key_of(lines[at])


def without_a_key(dice: random.Random, lines: list[str]) -> str:
    """Returns the key, or the section's name where it had no other: then that is empty."""
    at = dice.choice(SETTINGS)
    key, section = key_of(lines[at]), max(one for one in SECTIONS if one <= at)
    others = [one for one in SETTINGS if section < one < min((*_after(section), len(lines)))]
    lines.pop(at)
    return key if others != [at] else key_of(LINES[section])


def _after(section: int) -> list[int]:
    return [one for one in SECTIONS if one > section]


def with_a_key_twice(dice: random.Random, lines: list[str]) -> str:
    at = dice.choice(SETTINGS)
    lines.insert(at, lines[at])
    return key_of(lines[at])


def with_a_section_twice(dice: random.Random, lines: list[str]) -> str:
    name = key_of(lines[dice.choice(SECTIONS)])
    lines.append(f"{name}: {dice.choice(TYPES)}")
    return name


def with_an_unknown_key(dice: random.Random, lines: list[str]) -> str:
    at = dice.choice(SETTINGS)
    name = dice.choice(["rouot", "1", "null", "true", "x" * 40, "a-b", "é", "__class__", "model_"])
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    lines.insert(at, f"{indent}{name}: {dice.choice(TYPES)}")
    return {"null": "", "true": ""}.get(name, name)


def with_another_section(dice: random.Random, lines: list[str]) -> str:
    """A section that is a value, in place of its keys."""
    at = dice.choice(SECTIONS)
    after = min([number for number in SECTIONS if number > at], default=len(lines))
    name = key_of(lines[at])
    value = dice.choice([*TYPES, *NUMBERS, *YAML])
    lines[at:after] = [f"{name}: {value}"]
    return "" if value in OPEN else name


def at_the_margin(dice: random.Random, lines: list[str]) -> str:
    at = dice.choice([number for number in SETTINGS if lines[number].startswith(" ")])
    lines[at] = lines[at].lstrip()
    return key_of(lines[at])


def cut_short(dice: random.Random, lines: list[str]) -> str:
    """Of what is left, the last key is named, or that a section is missing."""
    del lines[dice.randrange(1, len(lines)) :]
    lines[-1] = lines[-1][: dice.randrange(len(lines[-1]) + 1)]
    return ""


def with_a_letter(dice: random.Random, lines: list[str]) -> str:
    """A letter more that a text file should not hold, or a bracket that nothing closes."""
    at = dice.choice(SETTINGS)
    place = dice.randrange(len(lines[at].split("#")[0].rstrip()) + 1)
    letter = dice.choice("\0\x07\ufeff\u2028\x85\t[]{}&*!|>'\"%@`,#:-?")
    lines[at] = lines[at][:place] + letter + lines[at][place:]
    return ""


MUTATIONS: tuple[Callable[[random.Random, list[str]], str], ...] = (
    *[with_value] * 8,
    *[with_another_section] * 2,
    *(without_a_key, with_a_key_twice, with_a_section_twice, with_an_unknown_key),
    *(at_the_margin, cut_short, with_a_letter),
)


class HangError(BaseException):
    """No handler of errors takes it for one of its own."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises `HangError` in what takes longer."""

    def stop(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(folder: Path, seed: int) -> str:
    """How the check takes one changed params.yaml."""
    dice = random.Random(seed)
    lines = list(LINES)
    mutation = dice.choice(MUTATIONS)
    key = mutation(dice, lines)
    file = folder / "params.yaml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")
    case = f"seed {seed}, {mutation.__name__} {key}"
    try:
        with at_most(10):
            params = read_params(file)
            check_all(params)
    except InputError as error:
        return refusal(str(error), key, case)
    except HangError:
        return f"{case}: hang"
    except Exception as error:
        return f"{case}: other exception {error!r}"
    same = params == yaml.safe_load(file.read_text(encoding="utf-8"))
    return "accepted" if same else f"{case}: accepted otherwise"


def refusal(said: str, key: str, case: str) -> str:
    """Whether a message is a line a problem, each of which names the key and can be shown."""
    # indented lines are to be pasted into the file
    lines = [line for line in said.splitlines() if not line.startswith("  ")]
    named = all(key in line or ("missing" in line and key in said) for line in lines)
    if not lines or not named:
        return f"{case}: not named: {said[:300]}"
    if not key and not all(re.search(r"params.yaml|\w+\.\S+: |line \d", line) for line in lines):
        return f"{case}: not by line: {said[:300]}"
    if any(len(line) > 1000 for line in lines):
        return f"{case}: a line of {max(map(len, lines))} letters: {said[:300]}"
    if not all(line.isprintable() for line in lines):
        return f"{case}: cannot be shown: {said[:300]!r}"
    return "refused"


@pytest.mark.skipif(os.name != "posix", reason="no alarm")
@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.long)])
def test_hostile_settings_are_refused_by_key_or_taken_as_they_stand(
    tmp_path: Path, count: int
) -> None:
    counts = Counter(outcome(tmp_path, seed) for seed in range(count))
    told = {
        "refused": counts["refused"],
        "accepted": counts["accepted"],
        "other exception": sum(n for what, n in counts.items() if "other exception" in what),
        "hang": sum(n for what, n in counts.items() if what.endswith(": hang")),
    }
    print(told)
    assert set(counts) <= {"refused", "accepted"}
    assert counts["refused"] > counts["accepted"] > 0
