"""KITTI-360's boxes (OpenCV's XML) as arrays. A file that declares entities is refused before any is expanded."""

from __future__ import annotations

from dataclasses import dataclass
from xml.parsers import expat

import numpy as np
from jaxtyping import Float, Int

from dwm.errors import DwmError
from dwm.geometry import transform
from dwm.storage import Tree, limits

CATEGORIES = {
    13: "vehicle.car",
    14: "vehicle.truck",
    15: "vehicle.trailer",
    16: "vehicle.towed.caravan",
    17: "vehicle.motorcycle",
    18: "vehicle.bicycle",
    19: "human.pedestrian.adult",
    20: "human.pedestrian.rider",
    34: "vehicle.bus",
}
"""nuScenes' names of the numbers that the set calls kittiId. Buildings, poles and what else stands about have none."""
STANDING = -1
"""The time of an object that does not move."""
FIELDS = ("index", "semanticId", "timestamp", "transform/data")
FARTHEST = 1e7
"""Metres."""


@dataclass(frozen=True)
class Objects:
    """names: of each, the same for one that moves. moments: the frame number at which it is there, or `STANDING`.

    size: (length, width, height) in metres. others: how many there are of kinds that have no category.
    """

    names: tuple[str, ...]
    categories: tuple[str, ...]
    moments: Int[np.ndarray, "n"]
    world_from_box: Float[np.ndarray, "n 4 4"]
    size: Float[np.ndarray, "n 3"]
    others: int = 0

    def at(self, number: int, place: Float[np.ndarray, "3"], reach: float) -> Int[np.ndarray, "m"]:
        """Those that are there at a frame, no farther than `reach` metres from a place."""
        there = (self.moments == STANDING) | (self.moments == number)
        return np.flatnonzero(there & (np.linalg.norm(self.world_from_box[:, :3, 3] - place, axis=1) <= reach))


def read_objects(tree: Tree, name: str) -> Objects:
    """Raises DwmError for what is no such XML, declares entities, or holds an object without one of `FIELDS`."""
    rows = _rows(tree.read(name, limits.TEXT), name)
    kept = [row for row in rows if int(row["semanticId"]) in CATEGORIES]
    matrices = np.array([row["transform/data"].split() for row in kept], object)
    try:
        matrices = matrices.astype(np.float64).reshape(-1, 4, 4)
    except ValueError as error:
        raise DwmError(f"{name}: a transform is no matrix of 4×4 numbers ({error}); fetch it again") from error
    axes = matrices[:, :3, :3]
    size = np.linalg.norm(axes, axis=1)
    if not (np.abs(matrices) < FARTHEST).all() or not (size > 0).all():
        raise DwmError(f"{name}: a transform is flat, not finite, or beyond the earth; fetch it again")
    left, _, right = np.linalg.svd(axes / size[:, None])
    turns = left @ right
    turns[:, :, 1] *= np.linalg.det(turns)[:, None]  # a mirrored box looks the same
    return Objects(
        tuple(row["index"] for row in kept),
        tuple(CATEGORIES[int(row["semanticId"])] for row in kept),
        np.array([int(row["timestamp"]) for row in kept], np.int64),
        transform(turns, matrices[:, :3, 3]),
        size,
        len(rows) - len(kept),
    )


def _rows(data: bytes, name: str) -> list[dict[str, str]]:
    """The fields of each child of the root that has a transform."""
    rows: list[dict[str, str]] = []
    path: list[str] = []
    fields: dict[str, str] = {}

    def start(tag: str, attributes: dict[str, str]) -> None:
        path.append(tag)
        if len(path) > 8:
            raise DwmError(f"{name}: is nested deeper than boxes are; fetch it again")
        if len(path) == 2:
            fields.clear()

    def text(part: str) -> None:
        key = "/".join(path[2:])
        if key in FIELDS:
            fields[key] = fields.get(key, "") + part

    def end(tag: str) -> None:
        path.pop()
        if len(path) == 1 and "transform/data" in fields:
            rows.append(_whole(dict(fields), tag, name))

    def refuse(*_: object) -> None:
        raise DwmError(f"{name}: declares entities or a document type, which boxes need none of; fetch it again")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.EntityDeclHandler = parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise DwmError(f"{name}: is no whole XML ({error}); fetch it again") from error
    return rows


def _whole(fields: dict[str, str], tag: str, name: str) -> dict[str, str]:
    for key in FIELDS:
        if key not in fields:
            raise DwmError(f"{name}: {tag[:40]} lacks {key}; fetch it again")
    for key in ("semanticId", "timestamp"):
        try:
            int(fields[key][:12])
        except ValueError as error:
            raise DwmError(
                f"{name}: {tag[:40]}: {key} is {fields[key][:20]!r}, no whole number; fetch it again"
            ) from error
    return {key: value.strip() for key, value in fields.items()}
