"""The semantic prior of a place: a grey PNG at 10 pixels a metre, 255 where cars may drive or people walk.

It is written in bands, so that a whole town is never in memory at once.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from shapely import STRtree
from shapely.geometry import Polygon, box

PIXELS_PER_METRE = 10
BAND = 512


def write_mask(path: Path, polygons: Sequence[Polygon], canvas: tuple[float, float]) -> None:
    """Draws `polygons` (world's x, y in metres) on a canvas of (width, height) metres whose lower left corner is (0, 0)."""
    width, height = (round(edge * PIXELS_PER_METRE) for edge in canvas)
    tree = STRtree(polygons)
    squeeze = zlib.compressobj(6)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.write(_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)))
        for top in range(0, height, BAND):
            rows = min(BAND, height - top)
            y_high, y_low = (height - top) / PIXELS_PER_METRE, (height - top - rows) / PIXELS_PER_METRE
            near = [polygons[i] for i in sorted(tree.query(box(0, y_low, canvas[0], y_high)))]
            lines = np.zeros((rows, width + 1), np.uint8)  # each line starts with its filter: none
            lines[:, 1:] = _band(near, width, rows, y_high)
            if packed := squeeze.compress(lines.tobytes()):
                file.write(_chunk(b"IDAT", packed))
        file.write(_chunk(b"IDAT", squeeze.flush()))
        file.write(_chunk(b"IEND", b""))


def _band(polygons: Sequence[Polygon], width: int, rows: int, y_high: float) -> np.ndarray:
    picture = Image.new("L", (width, rows), 0)
    for polygon in polygons:
        left, low, right, high = polygon.bounds
        x0, y0 = int(left * PIXELS_PER_METRE) - 1, int((y_high - high) * PIXELS_PER_METRE) - 1
        size = (int((right - left) * PIXELS_PER_METRE) + 4, int((high - low) * PIXELS_PER_METRE) + 4)
        stamp = Image.new("L", size, 0)
        draw = ImageDraw.Draw(stamp)
        for ring, value in ((polygon.exterior, 255), *((hole, 0) for hole in polygon.interiors)):
            points = np.asarray(ring.coords)[:, :2] * (PIXELS_PER_METRE, -PIXELS_PER_METRE)
            points += np.array([-x0, y_high * PIXELS_PER_METRE - y0])
            draw.polygon([tuple(p) for p in points.tolist()], fill=value)
        picture.paste(255, (x0, y0), stamp)
    return np.asarray(picture)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
