"""Transforms against their own inverses and against arithmetic done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dwm import geometry


def test_inverse_of_a_transform_brings_points_back() -> None:
    generator = np.random.default_rng(0)
    rotation = geometry.rotation_from_quaternion(generator.normal(size=(5, 4)))
    world_from_box = geometry.transform(rotation, generator.normal(size=(5, 3)))
    points = generator.normal(size=(5, 7, 3))
    back = geometry.apply(geometry.inverse(world_from_box), geometry.apply(world_from_box, points))
    np.testing.assert_allclose(back, points, atol=1e-12)


def test_quaternion_round_trip_up_to_sign() -> None:
    generator = np.random.default_rng(1)
    for q in generator.normal(size=(50, 4)):
        q = q / np.linalg.norm(q)
        found = geometry.quaternion_from_rotation(geometry.rotation_from_quaternion(q))
        np.testing.assert_allclose(found * np.sign(found @ q), q, atol=1e-12)


def test_a_zero_quaternion_is_refused() -> None:
    with pytest.raises(ValueError, match="zero"):
        geometry.rotation_from_quaternion(np.zeros(4))


def test_a_point_ahead_lands_on_the_principal_point() -> None:
    intrinsics = np.array([[1000.0, 0, 800], [0, 1000, 450], [0, 0, 1]])
    pixels, depth = geometry.project(intrinsics, np.array([[0.0, 0, 10], [1, 0, 10], [0, 0, -3]]))
    np.testing.assert_allclose(pixels[:2], [[800, 450], [900, 450]])
    assert geometry.in_picture(pixels, depth, (1600, 900)).tolist() == [True, True, False]


def test_corner_order_is_four_x_plus_two_y_plus_z() -> None:
    corners = geometry.box_corners(np.zeros((1, 3)), np.array([[4.0, 2, 1]]), np.eye(3)[None])[0]
    np.testing.assert_allclose(corners[0], [-2, -1, -0.5])
    np.testing.assert_allclose(corners[5], [2, -1, 0.5])
