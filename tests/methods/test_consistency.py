"""Which pixels teach, and what they weigh."""

import pytest
import torch
from pydantic import ValidationError

from ppl.images.pictures import IGNORE
from ppl.methods.consistency import (
    Labels,
    ThresholdSettings,
    class_thresholds,
    consistency_loss,
)
from ppl.training.loss import PAPER
from tests.methods.given import TAUGHT, batch, slow_consistency, taken_for


def by(threshold: float, class_share: float = 0.0) -> ThresholdSettings:
    return ThresholdSettings(threshold=threshold, class_share=class_share)


def row(classes: list[int], confidence: list[float], shown: list[bool] | None = None) -> Labels:
    """Labels of one image, one pixel high."""
    return Labels(
        torch.tensor([[classes]]),
        torch.tensor([[confidence]]),
        torch.tensor([[shown or [True] * len(classes)]]),
    )


def test_pixels_below_the_threshold_count_in_the_divisor() -> None:
    labels = row([0, 0, 0, 0], [0.99, 0.5, 0.5, 0.5])
    logits = torch.zeros(1, 2, 1, 4)
    loss = consistency_loss(logits, labels, by(0.95), PAPER)
    assert loss.item() == pytest.approx(torch.tensor(2.0).log().item() / 4)


def test_pixels_beyond_the_image_count_nowhere() -> None:
    labels = row([0, 0, 0, 0], [0.99, 0.5, 0.99, 0.99], [True, True, False, False])
    logits = torch.zeros(1, 2, 1, 4)
    loss = consistency_loss(logits, labels, by(0.95), PAPER)
    assert loss.item() == pytest.approx(torch.tensor(2.0).log().item() / 2)
    assert labels.taught(by(0.95)).flatten().tolist() == [0, IGNORE, IGNORE, IGNORE]


def test_a_batch_beyond_its_images_teaches_nothing() -> None:
    labels = row([0, 1], [0.99, 0.99], [False, False])
    assert consistency_loss(torch.zeros(1, 2, 1, 2), labels, by(0.5), PAPER).item() == 0


def test_the_loss_is_that_of_a_slow_version() -> None:
    logits = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 3
    student = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    shown = batch(2, seed=1)[1] != IGNORE
    found = consistency_loss(student, Labels.of(logits, shown), by(0.9), TAUGHT)
    confidence, classes = taken_for(logits)
    expected = slow_consistency(student, confidence, classes, shown, 0.9)
    torch.testing.assert_close(found, expected)


def test_no_gradient_reaches_what_labels() -> None:
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    labels = Labels.of(logits, torch.ones(1, 4, 4, dtype=torch.bool))
    assert not labels.confidence.requires_grad
    assert not labels.classes.requires_grad


def test_the_surest_share_of_a_rare_class_teaches_below_the_threshold() -> None:
    labels = row([0, 0, 0, 0, 1, 1, 1, 1], [0.99, 0.98, 0.97, 0.5, 0.4, 0.6, 0.5, 0.3])
    assert labels.taught(by(0.95)).flatten().tolist() == [0, 0, 0, *[IGNORE] * 5]
    taught = labels.taught(by(0.95, class_share=0.5)).flatten().tolist()
    # of background three pixels are above the threshold anyhow
    assert taught == [0, 0, 0, IGNORE, IGNORE, 1, 1, IGNORE]
    assert labels.taught(by(0.95, class_share=0.01)).flatten().tolist()[4:] == [
        IGNORE,
        1,
        IGNORE,
        IGNORE,
    ]


def test_a_class_without_a_pixel_keeps_the_threshold() -> None:
    labels = row([0, 1], [0.5, 0.6], [True, False])
    found = class_thresholds(labels, by(0.95, class_share=0.9))
    assert found[0].item() == pytest.approx(0.5)
    # its only pixel lies beyond the image, and class 2 has none
    assert found[1].item() == found[2].item() == pytest.approx(0.95)


@pytest.mark.parametrize("share", [1.0, -0.1])
def test_a_share_of_all_or_less_than_none_is_refused(share: float) -> None:
    with pytest.raises(ValidationError):
        by(0.95, class_share=share)
