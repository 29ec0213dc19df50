"""AlpaSim's cameras as a `Rig` of pinholes, and pictures from the one lens to the other: networks are told straight lines only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from dwm.clip import Rig
from dwm.errors import DwmError
from dwm.geometry import rotation_from_quaternion, transform

MOST_CAMERAS = 8
SIDES = (16, 4096)
MOST_TERMS = 16
"""Of a lens's polynomial."""
WIDEST = np.deg2rad(65.0)
"""Angle from the axis that a pinhole's edge may have: beyond it pictures are mostly stretch."""
SAMPLES = 4096
"""Of a lens's polynomial: a tenth of a pixel."""
EDGE = np.deg2rad(100.0)
"""Azimuth at which the order of the cameras begins, clockwise: behind the front left one, before the rear left one."""
FLU_FROM_CAMERA = transform(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), (0, 0, 0))
"""AlpaSim mounts cameras with x forward, y left, z up; ours look along z, x right, y down."""


@dataclass(frozen=True)
class FTheta:
    """A lens by the angle from its axis at each distance from its centre, in pixels of a picture of `size` (width, height).

    affine: of a pixel from the undistorted one, both from the centre; radius and angle (radians) rise together from 0.
    """

    size: tuple[int, int]
    center: Float[np.ndarray, "2"]
    affine: Float[np.ndarray, "2 2"]
    radius: Float[np.ndarray, "n"]
    angle: Float[np.ndarray, "n"]

    @cached_property
    def focal(self) -> float:
        """Of the pinhole, in the middle of a picture of the same size, that sees what this lens sees across and upright."""
        width, height = self.size
        across = [[0, self.center[1]], [width, self.center[1]]]
        upright = [[self.center[0], 0], [self.center[0], height]]
        focals = []
        for half, ends in ((width / 2, across), (height / 2, upright)):
            angles = self._angles(np.linalg.norm(self._offsets(np.array(ends, float)), axis=-1))
            focals.append(half / np.tan(min(float(np.nanmax(angles, initial=0.2)), WIDEST)))
        return min(focals)

    @cached_property
    def from_pinhole(self) -> Float[Tensor, "1 h w 2"]:
        """Where each pixel of this lens is in the pinhole's picture, as `grid_sample` takes it."""
        offset = self._offsets(_pixels(self.size))
        radius = np.linalg.norm(offset, axis=-1)
        angle = self._angles(radius)
        with np.errstate(invalid="ignore", divide="ignore"):
            along = np.where(angle < np.pi / 2 - 0.01, np.tan(angle), np.nan) / np.maximum(radius, 1e-9)
        return self._grid(offset * along[..., None] * self.focal + np.array(self.size) / 2)

    @cached_property
    def to_pinhole(self) -> Float[Tensor, "1 h w 2"]:
        """Where each pixel of the pinhole is in this lens's picture."""
        ray = (_pixels(self.size) - np.array(self.size) / 2) / self.focal
        length = np.linalg.norm(ray, axis=-1)
        radius = np.interp(np.arctan(length), self.angle, self.radius, right=np.nan)
        undistorted = ray * (radius / np.maximum(length, 1e-9))[..., None]
        return self._grid(undistorted @ self.affine.T + self.center)

    def _offsets(self, pixels: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        return (pixels - self.center) @ np.linalg.inv(self.affine).T

    def _angles(self, radius: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        return np.interp(radius, self.radius, self.angle, right=np.nan)

    def _grid(self, pixels: Float[np.ndarray, "h w 2"]) -> Float[Tensor, "1 h w 2"]:
        places = np.nan_to_num(pixels / np.array(self.size) * 2 - 1, nan=9.0)  # 9: outside, which is black
        return torch.from_numpy(places.clip(-9, 9).astype(np.float32))[None]


@dataclass(frozen=True)
class Camera:
    """One camera of a session: its picture's (width, height), and its lens where that is no pinhole."""

    name: str
    size: tuple[int, int]
    intrinsics: Float[np.ndarray, "3 3"]
    ego_from_camera: Float[np.ndarray, "4 4"]
    lens: FTheta | None = None

    @property
    def azimuth(self) -> float:
        """Where it looks, seen from above: radians counter-clockwise from ahead."""
        x, y = self.ego_from_camera[:2, 2]
        return float(np.arctan2(y, x))

    def shown(self, picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """A pinhole's picture of any size as this camera sees it."""
        planes = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
        if self.lens is not None:
            seen = grid_sample(planes, self.lens.from_pinhole, align_corners=False)
        else:
            seen = interpolate(planes, (self.size[1], self.size[0]), mode="bilinear", align_corners=False)
        return _as_bytes(seen)

    def straightened(self, picture: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """What this camera saw as its pinhole would have seen it."""
        if self.lens is None:
            return picture
        planes = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
        return _as_bytes(grid_sample(planes, self.lens.to_pinhole, align_corners=False, padding_mode="border"))


def read_cameras(specs: Sequence[Any], poses: Sequence[Any]) -> tuple[Camera, ...]:
    """The cameras of a `SessionRequest`, in its order. Raises DwmError for a lens that is not known, and for what is no number."""
    if not 0 < len(specs) <= MOST_CAMERAS:
        raise DwmError(f"camera_specs: {len(specs)} cameras; give 1 to {MOST_CAMERAS}")
    if len(poses) != len(specs):
        raise DwmError(f"rig_to_camera: {len(poses)} poses for {len(specs)} cameras; give one of each")
    names = [spec.logical_id for spec in specs]
    if not all(names) or len(set(names)) < len(names):
        raise DwmError("camera_specs: each camera needs a logical_id of its own")
    return tuple(_camera(spec, matrix(pose, "rig_to_camera")) for spec, pose in zip(specs, poses, strict=True))


def ring(cameras: Sequence[Camera]) -> list[int]:
    """The cameras' numbers in the order in which networks know them: clockwise from the front left."""
    return sorted(range(len(cameras)), key=lambda number: (EDGE - cameras[number].azimuth) % (2 * np.pi))


def rig_of(cameras: Sequence[Camera]) -> Rig:
    return Rig(
        tuple(camera.name for camera in cameras),
        np.stack([camera.intrinsics for camera in cameras]),
        np.stack([camera.ego_from_camera for camera in cameras]),
        np.array([camera.size for camera in cameras]),
    )


def matrix(pose: Any, field: str) -> Float[np.ndarray, "4 4"]:
    """A `Pose` as a transform. Raises DwmError naming the field."""
    place = np.array([pose.vec.x, pose.vec.y, pose.vec.z], float)
    turn = np.array([pose.quat.w, pose.quat.x, pose.quat.y, pose.quat.z], float)
    if not np.isfinite([*place, *turn]).all() or not np.linalg.norm(turn) > 1e-6:
        raise DwmError(f"{field}: a pose is no pose: vec {place.tolist()}, quat {turn.tolist()} (w, x, y, z)")
    return transform(rotation_from_quaternion(turn), place)


def _camera(spec: Any, rig_from_mount: Float[np.ndarray, "4 4"]) -> Camera:
    name, size = f"camera_specs {spec.logical_id[:60]}", (spec.resolution_w, spec.resolution_h)
    if not all(SIDES[0] <= side <= SIDES[1] for side in size):
        raise DwmError(f"{name}: resolution {size[0]}x{size[1]}; sides from {SIDES[0]} to {SIDES[1]} are drawn")
    if spec.HasField("bivariate_windshield_model_param"):
        raise DwmError(f"{name}: pictures through a windshield's distortion are not drawn; leave it out")
    if spec.HasField("ftheta_param"):
        lens = _ftheta(spec.ftheta_param, size, name)
        intrinsics = np.array([[lens.focal, 0, size[0] / 2], [0, lens.focal, size[1] / 2], [0, 0, 1]])
    elif spec.HasField("opencv_pinhole_param"):
        lens, intrinsics = None, _pinhole(spec.opencv_pinhole_param, name)
    else:
        raise DwmError(f"{name}: neither ftheta_param nor opencv_pinhole_param; other lenses are not drawn")
    return Camera(spec.logical_id, size, intrinsics, rig_from_mount @ FLU_FROM_CAMERA, lens)


def _pinhole(lens: Any, name: str) -> Float[np.ndarray, "3 3"]:
    if any(lens.radial_coeffs) or any(lens.tangential_coeffs) or any(lens.thin_prism_coeffs):
        raise DwmError(f"{name}: a pinhole with distortion is not drawn; send it undistorted, or as ftheta_param")
    values = np.array(
        [[lens.focal_length_x, 0, lens.principal_point_x], [0, lens.focal_length_y, lens.principal_point_y], [0, 0, 1]]
    )
    if not np.isfinite(values).all() or not (values.diagonal() > 0).all():
        raise DwmError(
            f"{name}: focal lengths are {lens.focal_length_x:g}, {lens.focal_length_y:g}; give pixels above 0"
        )
    return values


def _ftheta(lens: Any, size: tuple[int, int], name: str) -> FTheta:
    center = np.array([lens.principal_point_x, lens.principal_point_y])
    cde = lens.linear_cde if lens.HasField("linear_cde") else None
    affine = np.eye(2) if cde is None else np.array([[cde.linear_c, cde.linear_d], [cde.linear_e, 1.0]])
    by_pixels = lens.reference_poly == 1 or (lens.reference_poly == 0 and len(lens.pixeldist_to_angle_poly) > 0)
    terms = list(lens.pixeldist_to_angle_poly if by_pixels else lens.angle_to_pixeldist_poly)
    if not 1 < len(terms) <= MOST_TERMS or not np.isfinite([*terms, *center, *affine.ravel()]).all():
        raise DwmError(f"{name}: ftheta_param has no polynomial of finite numbers (2 to {MOST_TERMS} terms)")
    if abs(np.linalg.det(affine)) < 0.1:
        raise DwmError(f"{name}: ftheta_param.linear_cde makes pictures flat")
    most_angle = lens.max_angle if 0 < lens.max_angle < np.pi else np.pi
    steps = np.linspace(0, 2.0 * np.hypot(*size) if by_pixels else most_angle, SAMPLES)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.polynomial.polynomial.polyval(steps, [0.0, *terms[1:]])
    radius, angle = (steps, values) if by_pixels else (values, steps)
    # As far as it rises: beyond that two angles would share a pixel.
    rises = np.isfinite(values) & np.append(True, np.diff(values) > 0) & (angle <= most_angle)
    count = len(rises) if rises.all() else int(np.argmin(rises))
    if count < 8:
        raise DwmError(f"{name}: ftheta_param's polynomial does not rise from the centre on")
    return FTheta(size, center, affine, radius[:count], angle[:count])


def _pixels(size: tuple[int, int]) -> Float[np.ndarray, "h w 2"]:
    """The middle of each pixel."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    return np.stack([x, y], -1)


def _as_bytes(planes: Float[Tensor, "1 3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    return planes[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
