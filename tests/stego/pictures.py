"""Pictures to write into: the sizes that people's models take, with shapes in them, so that no two are alike."""

from __future__ import annotations

import numpy as np

from onnxfp.keys.keystream import Keystream

KEY = Keystream(bytes(range(32)))
CLAIM = "extra_class:" + "ab" * 32
SIZES = {"digits": (8, 8, 1), "grey": (28, 28, 1), "colour": (32, 32, 3), "wide": (5, 40, 3), "point": (1, 1, 1)}


def covers(size: str = "grey", images: int = 6, seed: int = 0) -> np.ndarray:
    """(images, height, width, channels): blobs on a gradient, with noise."""
    height, width, channels = SIZES[size]
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    pictures = np.empty((images, height, width, channels), dtype=np.uint8)
    for image in range(images):
        for channel in range(channels):
            middle, spread = draw.uniform(0, (height, width)), draw.uniform(2, 6)
            blob = np.exp(-((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2) / spread**2)
            light = 200 * blob + draw.uniform(0, 2) * columns + draw.uniform(0, 8, (height, width))
            pictures[image, :, :, channel] = np.clip(light, 0, 255)
    return pictures
