"""A student gives way to its labeler where the validation images leave no doubt, and only there."""

import pytest
import torch
from torch import Tensor

from ppl.students.fall_back import (
    Counted,
    FallBackSettings,
    Verdict,
    defect_parts,
    judge,
    sure_that_worse,
)


def settings(confidence: float = 0.9) -> FallBackSettings:
    return FallBackSettings(enabled=True, confidence=confidence, resamples=400)


def verdict_of(after: Tensor, before: Tensor, names: list[str], asked: FallBackSettings) -> Verdict:
    return judge(Counted("final", after), Counted("student_1", before), names, asked)


def found(hits: list[int]) -> Tensor:
    """(N, 2, 2) counts of images of 50 pixels each of background and defect, `hits` of it found."""
    return torch.tensor([[[50, 0], [50 - hit, hit]] for hit in hits])


def parts(count: int) -> list[str]:
    return [f"p{number}" for number in range(count)]


def test_a_student_that_is_as_good_is_kept_without_a_word() -> None:
    for after in ([20, 20, 20], [20, 20, 30]):
        verdict = verdict_of(found(after), found([20, 20, 20]), parts(3), settings(0.0))
        assert verdict.kept
        assert verdict.message is None


def test_a_student_that_is_worse_on_every_part_is_not_kept() -> None:
    after, before = found([18, 28, 38, 18, 28, 38]), found([20, 30, 40, 20, 30, 40])
    verdict = verdict_of(after, before, parts(6), settings())
    assert not verdict.kept
    # 300 of 300 + 132 and 168 of 300, against 300 of 300 + 120 and 180 of 300
    assert verdict.message is not None
    assert verdict.message.startswith("final scores 62.72 % mIoU on the validation images, ")
    assert "below the 65.71 % of student_1. 6 images with" in verdict.message
    assert "with 98.4 % confidence: student_1 is kept in its place" in verdict.message


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_few_parts_cannot_be_sure_however_much_they_agree(count: int) -> None:
    after, before = found([10] * count), found([40] * count)
    assert sure_that_worse(after, before, 400) == 1 - 0.5**count
    verdict = verdict_of(after, before, parts(count), settings())
    assert verdict.kept == (count < 4)
    assert verdict.message is not None
    assert f"{count} image{'s' if count > 1 else ''} with defects can tell" in verdict.message


def test_sound_parts_are_no_witnesses() -> None:
    sound = torch.tensor([[[100, 0], [0, 0]]]).expand(6, 2, 2)
    after, before = (torch.cat([found([hits] * 2), sound]) for hits in (10, 40))
    assert defect_parts(after) == 2
    # sets that hold sound parts alone tell nothing, and are not counted as won
    assert sure_that_worse(after, before, 400) == 0.75


def test_one_bad_part_of_many_is_no_proof() -> None:
    after, before = found([21, 21, 21, 21, 21, 5]), found([20] * 6)
    sure = sure_that_worse(after, before, 400)
    # not worse where the last part is not drawn, which is in (5/6) ** 6 of the sets
    assert sure == pytest.approx(1 - (5 / 6) ** 6, abs=0.08)
    verdict = verdict_of(after, before, parts(6), settings())
    assert verdict.kept
    assert verdict.message is not None
    assert "confidence, and fall_back.confidence asks for 90 %: it is kept" in verdict.message
    assert not verdict_of(after, before, parts(6), settings(sure)).kept


def test_the_only_part_of_a_rare_class_does_not_decide_alone() -> None:
    def counted(common: int, rare: int) -> Tensor:
        counts = torch.tensor([[[50, 0, 0], [100 - common, common, 0], [0, 0, 0]]]).repeat(10, 1, 1)
        counts[0, 2] = torch.tensor([100 - rare, 0, rare])
        return counts

    after, before = counted(62, 40), counted(60, 50)
    # better on nine parts of ten; the tenth is in 1 - 0.9 ** 10 of the sets
    sure = sure_that_worse(after, before, 400)
    assert sure == pytest.approx(1 - 0.9**10, abs=0.08)
    assert verdict_of(after, before, parts(10), settings()).kept


def test_with_no_confidence_asked_for_any_loss_is_enough() -> None:
    after, before = found([21, 21, 21, 21, 5]), found([20] * 5)
    for names in (parts(5), ["p0"] * 5):
        verdict = verdict_of(after, before, names, settings(0.0))
        assert not verdict.kept
        assert verdict.message is not None
        assert " % of student_1: student_1 is kept in its place" in verdict.message


def test_photos_of_one_part_are_one_witness() -> None:
    after, before = found([10] * 9 + [30]), found([20] * 10)
    assert sure_that_worse(after, before, 400) > 0.95
    # nine photos of one part: drawn together, or not at all
    of_two = ["p0"] * 9 + ["p1"]
    verdict = verdict_of(after, before, of_two, settings())
    assert verdict.kept
    assert verdict.message is not None
    assert "2 parts with defects can tell" in verdict.message
    assert "More parts with defects" in verdict.message


def test_what_is_not_enough_is_never_rounded_up_to_it() -> None:
    after, before = found([21] * 5 + [5]), found([20] * 6)
    sure = sure_that_worse(after, before, 400)
    message = verdict_of(after, before, parts(6), settings(sure + 1e-9)).message
    assert message is not None
    shown = float(message.split("can tell that with ")[1].split(" %")[0])
    assert shown <= 100 * sure < shown + 0.1
