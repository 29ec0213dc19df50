"""Sweeps along a LiDAR's rays: range images of any points, what rays meet of boxes and ground, and images that hold both."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dwm.clip import Boxes
from dwm.data.birdseye import BirdseyeOptions
from dwm.data.rays import NOWHERE, RayOptions, directions, draw_map_rays, range_image, surfaces
from dwm.data.sweep_places import ROOF, sweep_places
from dwm.data.sweeps import SweepPreparation, prepare_sweeps
from dwm.geometry import inverse, rotation_z
from dwm.networks.lidar.rays import ray_images, ray_points, ray_ranges
from dwm.town import town_scene

RAYS = RayOptions()


def one_box(x: float, y: float, size: tuple[float, float, float], yaw: float = 0.0) -> Boxes:
    """In the vehicle's frame, on the ground."""
    return Boxes(
        np.array([[x, y, size[2] / 2]]),
        np.array([size], float),
        rotation_z(np.array([yaw])),
        ("vehicle.car",),
        ("car",),
    )


def pixel_ahead(ring: int) -> tuple[int, int]:
    return ring, RAYS.columns // 2


def test_points_fall_into_the_pixels_of_their_rays_and_come_back():
    generator = np.random.default_rng(0)
    ranges = np.where(generator.random(RAYS.shape) < 0.8, generator.uniform(2, 70, RAYS.shape), NOWHERE)
    image = torch.from_numpy(np.stack([ranges, np.where(ranges < NOWHERE, 80.0, 0)]).astype(np.float32))
    points = ray_points(image, RAYS)
    assert len(points) == (ranges < NOWHERE).sum() and set(points[:, 4].int().tolist()) == set(range(32))
    back = range_image(points.numpy(), RAYS)
    np.testing.assert_allclose(back, image.numpy(), rtol=1e-5)


def test_of_several_points_of_a_ray_the_nearest_counts():
    ray = directions(RAYS)[pixel_ahead(20)]
    image = range_image(np.array([[*(30 * ray), 9, 0], [*(12 * ray), 70, 0], [*(50 * ray), 5, 0]]), RAYS)
    assert (
        image[(slice(None), *pixel_ahead(20))].tolist() == pytest.approx([12, 70]) and (image[0] < NOWHERE).sum() == 1
    )


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((0, 5)),
        np.zeros((3, 5)),
        np.full((2, 5), np.nan),
        np.array([[np.inf, 0, 0, 1, 0], [0, -np.inf, 1, 1, 0], [500, 0, 0, 1, 0], [0, 0, 30, 1, 0]]),
    ],
)
def test_what_no_ray_can_have_met_is_left_out(points):
    image = range_image(points, RAYS)
    assert (image[0] == NOWHERE).all() and not image[1].any()


def test_sweeps_without_intensity_and_with_broken_ones_are_ranges_still():
    ray = directions(RAYS)[pixel_ahead(25)]
    assert range_image((9 * ray)[None], RAYS)[(slice(None), *pixel_ahead(25))].tolist() == pytest.approx([9, 0])
    broken = np.array([[*(9 * ray), np.nan, 0]])
    assert range_image(broken, RAYS)[(slice(None), *pixel_ahead(25))].tolist() == pytest.approx([9, 0])


def test_rays_meet_the_box_ahead_and_the_ground_around_it():
    layout, picture = surfaces(one_box(12, 0, (4, 2, 1.6)), ROOF, ROOF, RAYS)
    enter, leave, ground = layout
    ring = 20  # 4 degrees down: 0.63 m below the sensor after 9 m, on the car's rear
    at = pixel_ahead(ring)
    ray = directions(RAYS)[at]
    assert enter[at] * ray[1] == pytest.approx(12 - 2 - ROOF[0, 3], abs=0.01)
    assert leave[at] * ray[1] == pytest.approx(12 + 2 - ROOF[0, 3], abs=0.01)
    down = np.radians(RAYS.lowest + RAYS.step * 2)
    assert ground[2] == pytest.approx(np.full(RAYS.columns, ROOF[2, 3] / -np.sin(down)), rel=1e-5)
    assert (ground[24:] == NOWHERE).all() and (enter[:, :100] == NOWHERE).all()
    met = enter < NOWHERE
    assert (picture[0] > 0).sum() == met.sum() and not picture[:, ~met].any()
    columns = np.flatnonzero(met.any(0))
    assert abs(columns.mean() - (RAYS.columns - 1) / 2) < 1, "what is ahead lies in the middle"


def test_a_box_around_the_lidar_hides_nothing():
    layout, _ = surfaces(one_box(0.9, 0, (6, 3, 3)), ROOF, ROOF, RAYS)
    assert (layout[0] == NOWHERE).all()


@pytest.fixture(scope="module")
def clip():
    return town_scene(5, 2).clip(4.0, 2, 0.5)


def test_the_town_casts_the_same_sweep_whenever_it_is_asked(clip):
    first, again = (
        clip.lidar.points[1],
        town_scene(5, 2).clip(4.0, 2, 0.5).part(slice(1, 2), slice(None)).lidar.points[0],
    )
    assert first.shape[1] == 5 and len(first) > 20_000
    np.testing.assert_array_equal(first, again)


def test_images_hold_a_town_sweep(clip):
    how = SweepPreparation(birdseye=BirdseyeOptions(left_is_up=False, pixels_per_metre=4), rays=RAYS)
    lidar = prepare_sweeps(clip, how).lidar
    images = ray_images(lidar.ranges, lidar.surfaces, RAYS)
    assert images.abs().max() <= 1 and images.shape == (1, 2, 4, *RAYS.shape)
    back = ray_ranges(images, lidar.surfaces, RAYS)
    true, made = lidar.ranges[:, :, 0], back[:, :, 0]
    assert ((true < NOWHERE) == (made < NOWHERE)).float().mean() > 0.999
    error = (true - made)[(true < NOWHERE) & (made < NOWHERE)].abs()
    assert error.quantile(0.95) < 0.1 and (error < 0.35).float().mean() > 0.99
    in_box = images[:, :, 0] > 0
    assert 0.01 < in_box.float().mean() < 0.5 and (lidar.surfaces[:, :, 0][in_box] < NOWHERE).all()


def test_the_map_lies_where_rays_meet_the_ground(clip):
    picture = draw_map_rays(clip, 0, ROOF, RAYS, BirdseyeOptions(left_is_up=False, pixels_per_metre=4))
    assert picture[2, 2].mean() > 200, "the road is around the car"
    assert not picture[:, 24:].any(), "above the horizon there is none"


def test_sweeps_are_taken_where_the_edited_car_is(clip):
    places = sweep_places(clip.shifted(ego_left=2), clip)
    local = inverse(clip.lidar.world_from_ego) @ places.world_from_ego
    np.testing.assert_allclose(local[:, :3, 3], [[0, 2, 0]] * 2, atol=1e-6)
    assert [len(places.points[frame]) for frame in range(2)] == [0, 0]
    untouched = sweep_places(clip.without("vehicle.car"), clip)
    np.testing.assert_array_equal(untouched.world_from_ego, clip.lidar.world_from_ego)
