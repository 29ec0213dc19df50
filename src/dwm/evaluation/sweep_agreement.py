"""How well sweeps agree with boxes and ground that they were told of, and that pictures of the same clip show. Loads no network."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from dwm.clip import Boxes, Clip
from dwm.data.rays import NOWHERE, RayOptions, boxes_of, directions, range_image, surfaces
from dwm.geometry import apply, points_inside

SLACK = 0.15
"""Metres by which a box is taken larger, and within which a range is the ground's."""
CLEAR = 0.2
"""Metres above a box's lower face from which a point is the thing's, not the road's."""
BEFORE = 0.9
"""Share of the way to the ground up to which the end of a ray is, likewise."""
FEW = 5
"""Points of the true sweep from which a box counts as seen."""


@dataclass(frozen=True)
class Met:
    """Of one kind of sweep: rays by what the layout tells of them, and where they end.

    in_box: share of the rays towards a box that end in it, above the road. behind: median metres from the box's surface to those
    ends. on_ground: share of the rays towards the ground that end there.
    """

    in_box: float
    behind: float
    on_ground: float


@dataclass(frozen=True)
class Agreement:
    """boxes: those with `FEW` points of the true sweep; occupied: share of them with a point of the generated one, filled: with a
    third as many, ray by ray the same resolution. stray: share of the boxes without a true point that have `FEW` generated ones."""

    sweeps: int
    boxes: int
    occupied: float
    filled: float
    stray: float
    truth: Met
    generated: Met

    def lines(self) -> list[str]:
        """For people."""
        pairs = (
            ("in the box", "in_box", "{:.1%}"),
            ("behind its surface", "behind", "{:.2f} m"),
            ("on the ground", "on_ground", "{:.1%}"),
        )
        sides = ("generated", self.generated), ("true", self.truth)
        return [
            f"boxes: {self.occupied:.1%} of {self.boxes} that the true sweep meets have points, {self.filled:.1%} a third as many "
            f"or more; {self.stray:.1%} of those that it does not meet have {FEW} or more",
            *(
                f"rays {words}: " + ", ".join(f"{side} {form.format(getattr(met, name))}" for side, met in sides)
                for words, name, form in pairs
            ),
        ]


@dataclass
class SweepAgreement:
    """Gathers it, clip by clip. rays: how both sweeps are sampled before they are compared."""

    rays: RayOptions = field(default_factory=RayOptions)
    _boxes: list[tuple[int, int]] = field(default_factory=list)
    _ends: dict[str, list[np.ndarray]] = field(default_factory=dict)
    _sweeps: int = 0

    def add(self, truth: Clip, generated: Clip) -> None:
        """Two clips of the same frames: with the LiDAR's true sweeps, and with generated ones."""
        assert truth.lidar is not None and generated.lidar is not None
        for frame in range(truth.length):
            self._sweeps += 1
            boxes = boxes_of(generated, frame)
            place = generated.lidar.world_from_lidar(frame)
            layout = surfaces(boxes, place, generated.lidar.mounting(frame), self.rays)[0]
            counts = []
            for name, clip in (("truth", truth), ("generated", generated)):
                assert clip.lidar is not None
                ranges = range_image(np.asarray(clip.lidar.points[frame]), self.rays)[0]
                self._ends.setdefault(name, []).append(np.stack([ranges, *layout]))
                counts.append(_inside(ranges, place, boxes, self.rays))
            self._boxes += list(zip(*(count.tolist() for count in counts), strict=True))

    def result(self) -> Agreement:
        counts = np.array(self._boxes).reshape(-1, 2)
        seen, unseen = counts[counts[:, 0] >= FEW], counts[counts[:, 0] == 0]
        return Agreement(
            self._sweeps,
            len(seen),
            _share(seen[:, 1] > 0),
            _share(3 * seen[:, 1] >= seen[:, 0]),
            _share(unseen[:, 1] >= FEW),
            _met(np.stack(self._ends["truth"])),
            _met(np.stack(self._ends["generated"])),
        )


def _inside(
    ranges: Float[np.ndarray, "R C"], world_from_lidar: Float[np.ndarray, "4 4"], boxes: Boxes | None, rays: RayOptions
) -> np.ndarray:
    """How many of the rays end in each box."""
    if boxes is None:
        return np.zeros(0, int)
    echo = ranges < NOWHERE
    points = apply(world_from_lidar, directions(rays)[echo] * ranges[echo][:, None].astype(np.float64))
    up = boxes.rotation[..., 2] * (CLEAR + SLACK) / 2
    larger = np.array([2 * SLACK, 2 * SLACK, SLACK - CLEAR])
    return points_inside(points, boxes.center + up, boxes.size + larger, boxes.rotation)


def _met(ends: Float[np.ndarray, "n 4 R C"]) -> Met:
    distance, enter, leave, ground = np.moveaxis(ends, 1, 0)
    to_box = enter < NOWHERE
    in_box = to_box & (distance > enter - SLACK) & (distance < np.minimum(leave + SLACK, BEFORE * ground))
    to_ground = ~to_box & (ground < NOWHERE)
    behind = float(np.median((distance - enter)[in_box])) if in_box.any() else float("nan")
    on_ground = np.abs(distance - ground) < SLACK + 0.02 * ground
    return Met(_share(in_box[to_box]), behind, _share(on_ground[to_ground]))


def _share(flags: np.ndarray) -> float:
    return float(flags.mean()) if flags.size else float("nan")
