"""Exported networks that several tests share: to export one takes seconds."""

from dataclasses import replace

import pytest
import torch

from ppl.core.onnx_runtimes import open_network
from ppl.export.card import Known, card_content
from ppl.images.sets import DatasetInfo
from ppl.inspection.model import Model
from ppl.network.graph import onnx_bytes
from ppl.network.network import NetworkSettings, SegmentationNetwork, new_network
from ppl.network.predict import PLAIN, TestTimeSettings
from ppl.network.resize import ImageSettings
from ppl.station.card import card_of
from ppl.station.onnx_predictor import OnnxPredictor
from ppl.station.thresholds import ClassLimits, Thresholds
from tests.conftest import COLOURS, whole

SIZE = (64, 96)

INFO = DatasetInfo("parts", ("background", "dent", "rust"), tuple(COLOURS))  # type: ignore[arg-type]

THRESHOLDS = Thresholds((ClassLimits(0.4, 3), ClassLimits(0.5, 10)), 0.55, None)

KNOWN = Known(
    scores={
        "miou": 0.5,
        "miou_low": 0.4,
        "miou_high": 0.6,
        "iou": {"background": 0.9, "dent": 0.1, "rust": None},
        "test_set": {"images": 7, "parts": 6},
    },
    audit={"split_by": "group", "test_images": 7, "test_images_seen_in_training": {"by_part": 0}},
    weights={"encoder": "tu-test_resnet", "source": "random", "licence": "no weights of others"},
)


@pytest.fixture(scope="session")
def decided(network_settings: NetworkSettings) -> SegmentationNetwork:
    """A network that is sure of its pixels, as a trained one is."""
    network = new_network(network_settings, 3, seed=3).eval()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        logits = network(torch.rand(2, 3, 64, 64, generator=draws))
        head = network.body.segmentation_head[0]
        spread = logits.std(dim=(0, 2, 3))
        head.weight *= (4 / spread)[:, None, None, None]
        head.bias -= head.bias
        head.bias -= network(torch.rand(2, 3, 64, 64, generator=draws)).mean(dim=(0, 2, 3))
    return network


@pytest.fixture(scope="session")
def of_one_size(decided: SegmentationNetwork) -> bytes:
    return onnx_bytes(decided, SIZE, any_size=False)


@pytest.fixture(scope="session")
def of_any_size(decided: SegmentationNetwork) -> bytes:
    return onnx_bytes(decided, SIZE, any_size=True)


def model_of(
    network: SegmentationNetwork,
    image: ImageSettings | None = None,
    test_time: TestTimeSettings = PLAIN,
) -> Model:
    """A finished model that looks at `SIZE` unless told otherwise."""
    return Model(network, image or whole(*SIZE), test_time, INFO, THRESHOLDS, weights="f00d")


def predictor_of(model: Model, content: bytes, runtime: str = "onnxruntime") -> OnnxPredictor:
    """What a station makes of `model`, whose network is in `content`."""
    card = replace(card_of(card_content(model, content, {}, KNOWN)), compared=(runtime,))
    return OnnxPredictor(open_network(content, runtime, "test"), card)
