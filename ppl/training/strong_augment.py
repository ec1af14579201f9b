"""The strong augmentation of unlabeled images, or of all: colour jitter, grayscale, blur.

It runs on images in [0, 1], before normalisation (the published code ran it on normalised
tensors cast to bytes, where two thirds of the pixels wrapped around), on a whole batch at once, on
the device that holds it, each image with draws of its own.

Axes: B batch, C channels (3, or 1 of grey images), H height, W width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Generator, Tensor

from ppl.core.settings import Settings

Probability = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0, le=1)]


class StrongAugmentSettings(Settings):
    """Section `strong_augment`."""

    jitter_probability: Probability
    brightness: Strength
    contrast: Strength
    saturation: Strength
    hue: Annotated[float, Field(ge=0, le=0.5)]
    grayscale_probability: Probability
    blur_probability: Probability
    blur_sigma_min: Annotated[float, Field(gt=0, le=100)]
    blur_sigma_max: Annotated[float, Field(gt=0, le=100)]
    of_labeled: bool

    @model_validator(mode="after")
    def _ordered(self) -> "StrongAugmentSettings":
        if self.blur_sigma_min > self.blur_sigma_max:
            raise ValueError(
                f"blur_sigma_min {self.blur_sigma_min} is above blur_sigma_max "
                f"{self.blur_sigma_max}; swap them"
            )
        return self


PAPER = StrongAugmentSettings(
    of_labeled=False,
    jitter_probability=0.8,
    brightness=0.5,
    contrast=0.5,
    saturation=0.5,
    hue=0.25,
    grayscale_probability=0.2,
    blur_probability=0.5,
    blur_sigma_min=0.1,
    blur_sigma_max=2.0,
)
"""Of images of 512 x 512 pixels."""


@dataclass(frozen=True)
class StrongDraws:
    """What one image undergoes; a factor of 1, a hue of 0 and a sigma of 0 change nothing."""

    jitter: bool
    order: Sequence[int]
    """Of brightness, contrast, saturation and hue, 0 to 3."""
    brightness: float
    contrast: float
    saturation: float
    hue: float
    """Of a turn."""
    gray: bool
    sigma: float
    """Of the blur, in pixels."""


def draw_strong(
    count: int, settings: StrongAugmentSettings, generator: Generator
) -> list[StrongDraws]:
    """Draws of `count` images; every image takes as many, so one's luck shifts no other's."""
    return [_draw_one(settings, generator) for _ in range(count)]


def _draw_one(settings: StrongAugmentSettings, generator: Generator) -> StrongDraws:
    use_jitter, use_gray, use_blur, sigma_draw, *factors = torch.rand(
        8, generator=generator
    ).tolist()
    order = torch.randperm(4, generator=generator).tolist()
    brightness, contrast, saturation = (
        1 + strength * (2 * draw - 1)
        for strength, draw in zip(
            (settings.brightness, settings.contrast, settings.saturation), factors[:3], strict=True
        )
    )
    span = settings.blur_sigma_max - settings.blur_sigma_min
    return StrongDraws(
        jitter=use_jitter < settings.jitter_probability,
        order=order,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=settings.hue * (2 * factors[3] - 1),
        gray=use_gray < settings.grayscale_probability,
        sigma=settings.blur_sigma_min + sigma_draw * span
        if use_blur < settings.blur_probability
        else 0.0,
    )


def strong_augment(image_BCHW: Tensor, draws: Sequence[StrongDraws]) -> Tensor:
    """Images (B, C, H, W) float32 in [0, 1], each by its own draws; same shape and range.

    Saturation, hue and grayscale leave a grey image as it is; with one channel they are skipped.
    """
    colour = image_BCHW.shape[1] == 3
    image = image_BCHW.clone()
    jitter = _jitter(draws, colour=colour)
    # moved to the device at once
    factors = torch.tensor([getattr(draws[k], name) for name, chosen in jitter for k in chosen])
    factors = factors.view(-1, 1, 1, 1).to(image.device, non_blocking=True)
    first = 0
    for name, chosen in jitter:
        by = factors[first : first + len(chosen)]
        _change(image, chosen, lambda x, name=name, by=by: _JITTER[name](x, by))  # type: ignore[misc]
        first += len(chosen)
    if colour:
        gray = [k for k, d in enumerate(draws) if d.gray]
        _change(image, gray, lambda x: _gray(x).expand_as(x))
    blurred = [k for k, d in enumerate(draws) if d.sigma > 0]
    # on the CPU: how far the widest reaches is asked, and a GPU would stand still for the answer
    sigmas = torch.tensor([draws[k].sigma for k in blurred])
    _change(image, blurred, lambda x: gaussian_blur(x, sigmas))
    return image.clamp(0, 1)


def _jitter(draws: Sequence[StrongDraws], *, colour: bool) -> list[tuple[str, list[int]]]:
    """What is changed in turn, and of which images."""
    found = []
    for turn in range(4):
        for number, name in enumerate(_JITTER):
            chosen = [k for k, d in enumerate(draws) if d.jitter and d.order[turn] == number]
            if chosen and (colour or name in ("brightness", "contrast")):
                found.append((name, chosen))
    return found


def _change(image: Tensor, chosen: Sequence[int], change: Callable[[Tensor], Tensor]) -> None:
    """Apply `change` in place to those of a batch that are `chosen`, all together."""
    if not chosen:
        return
    # neither indices to move to the device, nor what PyTorch takes to put them back in fixed order
    one = image[chosen[0] : chosen[0] + 1]
    changed = change(one if len(chosen) == 1 else torch.stack([image[k] for k in chosen]))
    for k, new in zip(chosen, changed.unbind(), strict=True):
        image[k].copy_(new)


def adjust_brightness(image_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    """factor * x; 0 is black."""
    return (factor_B111 * image_BCHW).clamp(0, 1)


def adjust_contrast(image_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    """Away from the mean grey level of the image, or towards it with a factor below 1."""
    mean = _gray(image_BCHW).mean(dim=(1, 2, 3), keepdim=True)
    return (factor_B111 * image_BCHW + (1 - factor_B111) * mean).clamp(0, 1)


def adjust_saturation(image_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    """Away from each pixel's grey level, or towards it with a factor below 1."""
    return (factor_B111 * image_BCHW + (1 - factor_B111) * _gray(image_BCHW)).clamp(0, 1)


def adjust_hue(image_BCHW: Tensor, turn_B111: Tensor) -> Tensor:
    """Turn the hue of (B, 3, H, W) by `turn_B111` of a whole turn; value and saturation stay.

    By the formula of HSV to RGB without cases: with k = (n + 6 hue) mod 6 for n = 5, 3, 1, a
    channel is V - (V - min) * clamp(min(k, 4 - k), 0, 1).
    """
    most, least = image_BCHW.amax(dim=1, keepdim=True), image_BCHW.amin(dim=1, keepdim=True)
    chroma = most - least
    red, green, blue = image_BCHW[:, :1], image_BCHW[:, 1:2], image_BCHW[:, 2:]
    safe = chroma.clamp(min=torch.finfo(chroma.dtype).tiny)
    sixths = torch.where(
        most == red,
        (green - blue) / safe,
        torch.where(most == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    # 5, 3, 1; made where it is needed, since a GPU would be waited for while numbers are moved
    offsets = torch.arange(5.0, 0.0, -2.0, device=image_BCHW.device).view(1, 3, 1, 1)
    k = (offsets + sixths + 6 * turn_B111) % 6
    return most - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


_JITTER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}
"""By the name of the draw, in the order in which `StrongDraws.order` counts."""


def gaussian_blur(image_BCHW: Tensor, sigma_B: Tensor) -> Tensor:
    """Each image blurred by its own sigma, in pixels, given on the CPU; borders are mirrored.

    The kernel reaches three sigma, as far as the image's border allows. Rows and columns are
    blurred one after the other, all images and channels in one convolution.
    """
    batch, channels, height, width = image_BCHW.shape
    rows, columns = (_kernel(sigma_B, side) for side in (height, width))
    per_channel = [
        k.repeat_interleave(channels, dim=0).to(image_BCHW.device, non_blocking=True)
        for k in (rows, columns)
    ]
    image = image_BCHW.reshape(1, batch * channels, height, width)
    reach = rows.shape[1] // 2, columns.shape[1] // 2
    image = F.pad(image, (reach[1], reach[1], reach[0], reach[0]), mode="reflect")
    image = F.conv2d(image, per_channel[0][:, None, :, None], groups=batch * channels)
    image = F.conv2d(image, per_channel[1][:, None, None, :], groups=batch * channels)
    return image.view(batch, channels, height, width)


def _kernel(sigma_B: Tensor, side: int) -> Tensor:
    """(B, 2 R + 1) weights that sum to 1; each image's own reach is at most R, the largest."""
    reach = (3 * sigma_B).ceil().clamp(1, max(side - 1, 0))
    widest = int(reach.max())
    distance = torch.arange(-widest, widest + 1, device=sigma_B.device)
    weight = (-0.5 * (distance / sigma_B[:, None]) ** 2).exp() * (distance.abs() <= reach[:, None])
    return weight / weight.sum(dim=1, keepdim=True)


def _gray(image_BCHW: Tensor) -> Tensor:
    """(B, 1, H, W) grey level."""
    # it takes a second to import, which a stage that only reads these settings need not spend
    from torchvision.transforms.v2 import functional as TF

    gray: Tensor = TF.rgb_to_grayscale(image_BCHW, 1)
    return gray
