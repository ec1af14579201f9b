"""Strong augmentation stays in [0, 1], changes each image by its own draws, and can be off."""

import pytest
import torch
from torchvision.transforms import v2

from ppl.core.errors import InputError
from ppl.core.settings import check
from ppl.training.strong_augment import PAPER, StrongAugmentSettings, draw_strong
from ppl.training.strong_augment import strong_augment as apply_draws

OFF = PAPER.model_copy(
    update={"jitter_probability": 0.0, "grayscale_probability": 0.0, "blur_probability": 0.0}
)


def images(batch: int = 4, height: int = 12, width: int = 17) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=draws(99))


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def strong_augment(
    images: torch.Tensor, settings: StrongAugmentSettings, generator: torch.Generator
) -> torch.Tensor:
    return apply_draws(images, draw_strong(len(images), settings, generator))


def with_(**changes: float) -> StrongAugmentSettings:
    return OFF.model_copy(update=changes)


def test_values_stay_in_range_and_type() -> None:
    for seed in range(20):
        augmented = strong_augment(images(), PAPER, draws(seed))
        assert augmented.shape == images().shape
        assert augmented.dtype == torch.float32
        assert 0 <= augmented.min() <= augmented.max() <= 1


def test_probability_zero_changes_nothing() -> None:
    assert torch.equal(strong_augment(images(), OFF, draws()), images())


def test_strength_zero_changes_nothing_beyond_rounding() -> None:
    weak = with_(jitter_probability=1.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    torch.testing.assert_close(strong_augment(images(), weak, draws()), images(), atol=1e-5, rtol=0)


def test_each_image_has_draws_of_its_own() -> None:
    same = images(1).repeat(30, 1, 1, 1)
    augmented = strong_augment(same, with_(jitter_probability=1.0), draws())
    assert len({image.sum().item() for image in augmented}) == 30


@pytest.mark.parametrize(
    ("key", "probability"),
    [("jitter_probability", 0.8), ("grayscale_probability", 0.2), ("blur_probability", 0.5)],
)
def test_the_share_of_changed_images_is_the_probability(key: str, probability: float) -> None:
    same = images(1, 6, 6).repeat(400, 1, 1, 1)
    augmented = strong_augment(same, with_(**{key: probability}), draws())
    changed = (augmented != same).flatten(1).any(dim=1).float().mean()
    assert changed == pytest.approx(probability, abs=0.08)


def test_grey_images_stay_grey() -> None:
    grey = images()[:, :1].expand(-1, 3, -1, -1)
    for seed in range(20):
        augmented = strong_augment(grey, PAPER, draws(seed))
        torch.testing.assert_close(
            augmented, augmented[:, :1].expand_as(augmented), atol=1e-6, rtol=0
        )


def test_grayscale_makes_three_equal_channels() -> None:
    augmented = strong_augment(images(), with_(grayscale_probability=1.0), draws())
    assert torch.equal(augmented, augmented[:, :1].expand_as(augmented))
    torch.testing.assert_close(augmented, v2.functional.rgb_to_grayscale(images(), 3))


def test_brightness_multiplies_by_at_most_the_strength() -> None:
    dark = images() * 0.5
    only = with_(jitter_probability=1.0, brightness=0.5, contrast=0.0, saturation=0.0, hue=0.0)
    ratio = strong_augment(dark, only, draws()) / dark
    for factors in ratio:
        assert factors.max() - factors.min() < 1e-3
        assert 0.5 <= factors.mean() <= 1.5


def test_blur_smooths_and_keeps_the_mean() -> None:
    before = images(4, 40, 40)
    after = strong_augment(
        before,
        with_(blur_probability=1.0, blur_sigma_min=2.0, blur_sigma_max=2.0),
        draws(),
    )
    assert (after.std(dim=(1, 2, 3)) < 0.3 * before.std(dim=(1, 2, 3))).all()
    torch.testing.assert_close(after.mean(dim=(2, 3)), before.mean(dim=(2, 3)), atol=0.02, rtol=0)


def test_blur_equals_a_kernel_wide_enough_to_hold_the_gaussian() -> None:
    before = images(1, 40, 40)
    after = strong_augment(
        before,
        with_(blur_probability=1.0, blur_sigma_min=1.5, blur_sigma_max=1.5),
        draws(),
    )
    expected = v2.functional.gaussian_blur(before, [31, 31], [1.5, 1.5])
    torch.testing.assert_close(after, expected, atol=3e-3, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 40)])
def test_the_widest_blur_works_on_the_smallest_image(size: tuple[int, int]) -> None:
    widest = with_(blur_probability=1.0, blur_sigma_min=100.0, blur_sigma_max=100.0)
    assert strong_augment(images(2, *size), widest, draws()).isfinite().all()


def test_the_number_of_draws_does_not_depend_on_the_settings() -> None:
    left = []
    for settings in [PAPER, OFF, with_(blur_probability=1.0)]:
        generator = draws()
        strong_augment(images(), settings, generator)
        left.append(torch.rand(1, generator=generator).item())
    assert len(set(left)) == 1


def test_the_same_draws_give_the_same_result_and_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    given = images()
    first, second = (strong_augment(given, PAPER, draws()) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(given, images()), "the input was changed in place"
    assert torch.equal(torch.get_rng_state(), before)


def test_a_swapped_sigma_range_is_refused() -> None:
    values = PAPER.model_dump() | {"blur_sigma_min": 3.0}
    with pytest.raises(InputError, match=r"blur_sigma_min 3.0 is above blur_sigma_max 2.0"):
        check("strong_augment", values, StrongAugmentSettings)
