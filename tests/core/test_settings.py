"""Wrong settings fail at once, in one line that names the key, what came and what is allowed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field, ValidationError

from ppl.all_settings import SECTIONS
from ppl.core.errors import InputError
from ppl.core.settings import PathSetting, Settings, check, read_params, section, sections
from ppl.data.adapters.base import DataSettings
from ppl.training.weak_augment import WeakAugmentSettings


class Inner(Settings):
    depth: int


class Example(Settings):
    rate: Annotated[float, Field(gt=0, le=1)]
    steps: int
    name: str | None
    inner: Inner
    scales: list[float]


GOOD: dict[str, Any] = {
    "rate": 0.5,
    "steps": 3,
    "name": None,
    "inner": {"depth": 1},
    "scales": [1.0],
}


def message_of(changes: dict[str, Any]) -> str:
    with pytest.raises(InputError) as raised:
        check("example", GOOD | changes, Example)
    return str(raised.value)


def test_good_values_come_through_unchanged() -> None:
    assert check("example", GOOD, Example).model_dump() == GOOD


def test_a_whole_number_is_a_fraction_too() -> None:
    assert check("example", GOOD | {"rate": 1}, Example).rate == 1.0


def test_settings_do_not_change_after_reading() -> None:
    settings = check("example", GOOD, Example)
    with pytest.raises(ValidationError):
        settings.steps = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"steps": 3.0}, ["example.steps", "3.0 (float)", "integer"]),
        ({"steps": True}, ["example.steps", "True (bool)", "integer"]),
        ({"steps": "3"}, ["example.steps", "'3' (str)", "integer"]),
        ({"rate": True}, ["example.rate", "True (bool)", "number"]),
        ({"rate": None}, ["example.rate", "None", "number"]),
        ({"rate": float("nan")}, ["example.rate", "nan (float)", "finite"]),
        ({"rate": float("inf")}, ["example.rate", "inf (float)"]),
        ({"rate": 0.0}, ["example.rate", "0.0 (float)", "greater than 0"]),
        ({"rate": 2}, ["example.rate", "2 (int)", "less than or equal to 1"]),
        ({"rate": "1e-3"}, ["example.rate", "'1e-3' (str)", "write 0.001"]),
        ({"inner": {"depth": "x"}}, ["example.inner.depth", "'x' (str)", "integer"]),
        ({"inner": None}, ["example.inner", "None"]),
        ({"scales": [1.0, "x"]}, ["example.scales[1]", "'x' (str)", "number"]),
        ({"raet": 1}, ["example.raet", "unknown key", "did you mean rate?", "rate, steps, name"]),
        ({"Zz-9 z": 1}, ["example.Zz-9 z", "unknown key", "rate, steps, name"]),
        ({"rate-": 1}, ["example.rate-", "did you mean rate?"]),
        ({"inner": {"depth": 1, "dept": 2}}, ["example.inner.dept", "did you mean depth?"]),
        ({1: 2}, ["example", "1 (int)", "strings"]),
    ],
)
def test_a_wrong_value_is_one_line_that_helps(changes: dict[Any, Any], parts: list[str]) -> None:
    message = message_of(changes)
    assert len(message.splitlines()) == 1
    for part in ["params.yaml", *parts]:
        assert part in message


@pytest.mark.parametrize("text", ["nan", "inf", "fast"])
def test_text_that_is_no_finite_number_gets_no_hint_to_write_it(text: str) -> None:
    assert "write" not in message_of({"rate": text})


def test_a_missing_key_is_named() -> None:
    values = {key: value for key, value in GOOD.items() if key != "steps"}
    with pytest.raises(InputError, match=r"example\.steps: missing"):
        check("example", values, Example)


def test_each_wrong_key_has_its_line() -> None:
    message = message_of({"rate": 7, "steps": "x", "more": 1})
    assert len(message.splitlines()) == 3
    assert all(key in message for key in ["example.rate", "example.steps", "example.more"])


def test_values_that_contradict_each_other_say_so() -> None:
    values = {
        "scale_min": 2.0,
        "scale_max": 0.5,
        "flip_probability": 0.5,
        "vertical_flip_probability": 0.5,
    }
    with pytest.raises(InputError, match=r"scale_min 2.0 is above scale_max 0.5; swap them"):
        check("weak_augment", values, WeakAugmentSettings)


def write(folder: Path, content: bytes) -> Path:
    file = folder / "params.yaml"
    file.write_bytes(content)
    return file


def test_a_section_is_read_and_checked(tmp_path: Path) -> None:
    file = write(tmp_path, b"seed: 3\ninner:\n  depth: 2\n")
    assert section("seed", int, file=file) == 3
    assert section("inner", Inner, file=file) == Inner(depth=2)


def test_yaml_reads_an_exponent_without_a_point_as_text_and_the_error_says_so(
    tmp_path: Path,
) -> None:
    file = write(tmp_path, b"rate: 1e-3\n")
    with pytest.raises(InputError, match=r"rate: got '1e-3' .*write 0.001"):
        section("rate", float, file=file)


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, b"seed: 3\n")
    with pytest.raises(InputError, match="section `inner` is missing"):
        section("inner", Inner, file=file)


@pytest.mark.parametrize("value", ["3.0", "true", "'3'", "null", "[3]"])
def test_a_seed_is_a_whole_number(tmp_path: Path, value: str) -> None:
    file = write(tmp_path, f"seed: {value}\n".encode())
    with pytest.raises(InputError, match=r"seed: got .*integer"):
        section("seed", int, file=file)


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml is missing .*project's root"):
        read_params(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("content", [b"a: [1\n", b"a:\n\t- 1\n", b"\xff\xfe\xfa", b"a: \xe9\n"])
def test_a_file_that_is_no_yaml_says_so(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="is not valid YAML"):
        read_params(write(tmp_path, content))


@pytest.mark.parametrize("content", [b"", b"- 1\n", b"text\n"])
def test_a_file_without_sections_says_so(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="holds no sections"):
        read_params(write(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("data:\n  a: 1\nseed: 3\ndata:\n  a: 2\n", "`data` stands there twice, .* lines 1 and 4:"),
        ("data:\n  a: 1\n  b: 2\n  a: 1\n", "`a` stands there twice, in the lines 2 and 4: keep"),
        ("data: {x: {c: 1, c: 2}}\n", "`c` stands there twice, in the lines 1 and 1"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(
    tmp_path: Path, content: str, said: str
) -> None:
    with pytest.raises(InputError, match=rf"params\.yaml is not valid YAML: {said}"):
        read_params(write(tmp_path, content.encode()))


def test_one_key_in_two_sections_is_no_repetition(tmp_path: Path) -> None:
    file = write(tmp_path, b"a: &a {x: 1}\nb: {x: 2}\nc:\n  <<: *a\n  x: 3\n")
    assert read_params(file) == {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 3}}


def test_missing_keys_of_a_section_of_the_users_own_are_given_to_be_pasted() -> None:
    given = {"name": "folder", "root": "data/raw/mine", "clases": ["background", "dent"]}
    with pytest.raises(InputError) as caught:
        check("data", given, DataSettings)
    lines = str(caught.value).splitlines()
    assert "data.clases: unknown key (did you mean classes?)" in lines[0]
    assert lines[1] == "data: 5 keys missing; add to the section, with your values:"
    pasted = yaml.safe_load("\n".join(lines[2:]))
    needed = {name for name, field in DataSettings.model_fields.items() if field.is_required()}
    assert pasted.keys() == needed - given.keys()
    del given["clases"]
    check("data", given | pasted, DataSettings)
    assert all("  # " in line or " # " in line for line in lines[2:])


def test_the_lines_to_paste_are_one_valid_section() -> None:
    pasted = yaml.safe_load("\n".join(DataSettings.LINES.values()))
    assert list(pasted) == list(DataSettings.LINES) == list(DataSettings.model_fields)
    check("data", pasted, DataSettings)


@dataclass(frozen=True)
class Two:
    seed: int
    inner: Inner


def test_a_dataclass_takes_the_sections_that_its_fields_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("seed: 3\ninner: {depth: 2}\nother: 1\n", encoding="utf-8")
    assert sections(Two) == Two(3, Inner(depth=2))
    Path("params.yaml").write_text("seed: 3\n", encoding="utf-8")
    with pytest.raises(InputError, match="section `inner` is missing"):
        sections(Two)
    Path("params.yaml").write_text("seed: x\ninner: {depth: 2}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"seed: got 'x' \(str\)"):
        sections(Two)


PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text("utf-8"))


@pytest.mark.parametrize("key", ["seed: 0", "seed: 0   # of all"])
def test_a_key_at_the_margin_inside_a_section_is_named_with_its_own_line(
    tmp_path: Path, key: str
) -> None:
    content = f"split:\n  by: auto\n{key}\n\n  # a comment\n  folds: 0\nother: 1\n"
    with pytest.raises(InputError, match=r"params\.yaml, line 3: `seed: 0` begins .* line 6 "):
        read_params(write(tmp_path, content.encode()))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("a\nb", r"'\\n' cannot be shown"),
        ("a\x1b[2J", r"'\\x1b' cannot be shown"),
        ("a\u2028b", r"'\\u2028' cannot be shown"),
        ("~/lots", "only a shell knows what ~ means"),
        ("", "at least 1 character"),
    ],
)
def test_a_path_that_no_line_can_show_is_refused_by_key_and_character(path: str, said: str) -> None:
    class Section(Settings):
        folder: PathSetting

    with pytest.raises(InputError, match=rf"x\.folder: got .*{said}"):
        check("x", {"folder": path}, Section)


@pytest.mark.parametrize(
    "path",
    ["it's (1) & more; #2 *?|<>!", "übel/[x]", "-rf", "lot $5", "$(touch x)", "`x`", '19" panel'],
)
def test_what_only_a_shell_would_read_otherwise_is_a_path(path: str) -> None:
    class Section(Settings):
        folder: PathSetting

    assert check("x", {"folder": path}, Section).folder == path


def test_no_shell_sees_a_setting() -> None:
    pipeline = (Path(__file__).parents[2] / "dvc.yaml").read_text(encoding="utf-8")
    assert all("$" not in stage["cmd"] for stage in yaml.safe_load(pipeline)["stages"].values())


def test_a_section_read_by_itself_shows_the_keys_that_do_not_go_together_alone() -> None:
    with pytest.raises(InputError) as caught:
        check("split", PARAMS["split"] | {"folds": 1}, SECTIONS["split"])
    assert str(caught.value).startswith("params.yaml: split: got folds 1, fold 1; folds: 1 fold")
    assert "{" not in str(caught.value)


@pytest.mark.parametrize("name", ["train_supervised", "retrain_reliable", "retrain_final"])
def test_iterations_that_would_never_end_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}\.iterations: got 10+ "):
        check(name, PARAMS[name] | {"iterations": 10**30}, SECTIONS[name])
