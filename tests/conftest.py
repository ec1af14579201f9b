"""What many tests share: a network small enough to train in a blink, and image sets on disk."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppl.images.files import write_mask
from ppl.images.sets import Entry, ImageSet, mask_file, read_image_set, write_index
from ppl.network.network import NetworkSettings, SegmentationNetwork, new_network
from ppl.network.resize import ImageSettings

COLOURS = [(0, 0, 0), (230, 60, 60), (60, 60, 230)]

MakeSet = Callable[..., ImageSet]


def whole(height: int, width: int) -> ImageSettings:
    """Images resized whole to that size."""
    return ImageSettings(height=height, width=width, fit="whole", overlap=0)


def windows(height: int, width: int, *, overlap: int = 0) -> ImageSettings:
    """Images seen through windows of that size."""
    return ImageSettings(height=height, width=width, fit="windows", overlap=overlap)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors are slower on many threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def network_settings() -> NetworkSettings:
    return NetworkSettings(
        architecture="Linknet",
        encoder="tu-test_resnet",
        options={},
        encoder_weights=None,
        mean=[0.4, 0.5, 0.6],
        std=[0.2, 0.25, 0.3],
    )


@pytest.fixture
def network(network_settings: NetworkSettings) -> SegmentationNetwork:
    """Three classes, random weights, eval mode."""
    return new_network(network_settings, 3, seed=0).eval()


@pytest.fixture
def make_set(tmp_path: Path) -> MakeSet:
    """Writes an image set: `make_set(ids, sizes=..., masks=..., seed=...)`."""

    def make(
        ids: list[str],
        *,
        folder: str = "set",
        sizes: list[tuple[int, int]] | None = None,
        masks: bool = True,
        seed: int = 0,
    ) -> ImageSet:
        draws = np.random.default_rng(seed)
        entries = []
        for number, id in enumerate(ids):
            height, width = sizes[number] if sizes else (32, 32)
            file = tmp_path / folder / "images" / f"{id}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = draws.integers(0, 120, (height, width, 3), dtype=np.uint8)
            mask = np.zeros((height, width), dtype=np.uint8)
            # a bright rectangle is class 1, a dark blue one class 2: something to learn
            mask[height // 4 : height // 2, width // 4 :] = 1 + number % 2
            pixels[mask == 1] += 120
            pixels[mask == 2, 2] += 100
            Image.fromarray(pixels).save(file)
            if masks:
                target = mask_file(tmp_path / folder / "masks", id)
                write_mask(target, torch.from_numpy(mask), COLOURS)
            entries.append(Entry(id, f"{id}.png", height, width))
        write_index(tmp_path / folder, entries)
        return read_image_set(tmp_path / folder)

    return make
