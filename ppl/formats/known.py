"""The formats by the names that the command line takes."""

from collections.abc import Mapping

from ppl.formats import coco, cvat_mask, label_studio, labelme, png
from ppl.formats.base import Format

FORMATS: Mapping[str, Format] = {
    "png": Format(png.write, png.read, images=False),
    "labelme": Format(labelme.write, labelme.read),
    "coco": Format(coco.write, coco.read),
    "coco-polygons": Format(coco.write_polygons, coco.read),
    "cvat-mask": Format(cvat_mask.write, cvat_mask.read),
    "label-studio": Format(label_studio.write, label_studio.read),
}
