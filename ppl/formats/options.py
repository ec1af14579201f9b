"""The names of the formats, for a command line whose help comes at once."""

NAMES = ("png", "labelme", "coco", "coco-polygons", "cvat-mask", "label-studio")
