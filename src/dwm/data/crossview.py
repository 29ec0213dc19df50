"""Which views of a clip see each other: by how their cameras stand around the car and how wide they look. Reads no file."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dwm.clip import Clip, Rig

STEEP = 0.2
"""Length on the ground of a direction of length one below which a camera looks down or up, so that it may see anything."""
GAP = 0.5
"""Share of the narrower field of view by which two neighbours of the ring may miss each other: Argoverse's front cameras have
0.45 between them, and are taught as neighbours; nuScenes' next but one have 0.66 or more, and are not."""


def crossview_mask(clip: Clip) -> Bool[Tensor, "1 v v"]:
    """True where a view (row) may look at another: as the clip says, else by its cameras."""
    mask = rig_mask(clip.rig) if clip.crossview_mask is None else clip.crossview_mask
    return torch.from_numpy(mask)[None]


def rig_mask(rig: Rig) -> Bool[np.ndarray, "v v"]:
    """Symmetric. Cameras see each other where their fields of view overlap on the ground plane, and where they stand next to each
    other with a gap of less than `GAP` between them. A camera that stands in a second place sees itself alone there.
    """
    first = [rig.names.index(name) for name in rig.names]
    is_first = np.equal(first, np.arange(len(first)))
    heading, half, looks_around = _fields_of_view(rig.at(0))
    turn = (heading - heading[:, None]) % (2 * np.pi)  # from a row's camera to a column's, counter-clockwise
    sees = np.minimum(turn, turn.T) < half[:, None] + half
    ring = np.flatnonzero(is_first & ~looks_around)
    ring = ring[np.argsort(heading[ring] % (2 * np.pi), kind="stable")]
    one, other = ring, np.roll(ring, -1)
    near = turn[one, other] - half[one] - half[other] < GAP * 2 * np.minimum(half[one], half[other])
    sees[one[near], other[near]] = sees[other[near], one[near]] = True
    sees |= looks_around[:, None] | looks_around
    return np.eye(len(first), dtype=bool) | (sees & is_first[:, None] & is_first)


def _fields_of_view(rig: Rig) -> tuple[Float[np.ndarray, "v"], Float[np.ndarray, "v"], Bool[np.ndarray, "v"]]:
    """Heading of each field's middle and half its width (radians, counter-clockwise from ahead), and which look down or up."""
    f, cx, width = rig.intrinsics[:, 0, 0], rig.intrinsics[:, 0, 2], rig.image_size[:, 0]
    edges = np.stack([-cx / f, (width - cx) / f], 1)
    rays = np.stack([edges, np.zeros_like(edges), np.ones_like(edges)], -1)
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True) @ np.swapaxes(rig.ego_from_camera[:, :3, :3], -1, -2)
    left, right = np.arctan2(rays[..., 1], rays[..., 0]).T
    half = (left - right) % (2 * np.pi) / 2
    return right + half, half, np.linalg.norm(rays[..., :2], axis=-1).min(1, initial=1.0) < STEEP
