"""A scene package of a made-up car with two cameras at 5 Hz: python examples/scene_package.py drive.zip"""

import io
import sys

import numpy as np
from PIL import Image, ImageDraw
from shapely import Polygon

from dwm.clip import Boxes, Caption, LaneMap
from dwm.data.package import Manifest, PackageWriter
from dwm.geometry import transform

AHEAD = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # the camera's x, y, z in the car's frame
CAMERAS = {"left": [1.5, 0.4, 1.4], "right": [1.5, -0.4, 1.4]}  # where they stand in the car's frame, metres
INTRINSICS = np.array([[400.0, 0, 240], [0, 400, 135], [0, 0, 1]])  # pixels of pictures of 480×270
START = 1_700_000_000_000_000  # µs

with PackageWriter(sys.argv[1], Manifest(name="our car", licence="CC0")) as package:
    package.map("yard", LaneMap({"drivable_area": (Polygon([(-5, -4), (90, -4), (90, 4), (-5, 4)]),)}))
    scene = package.scene("drive-1", map="yard", description="a van in a yard")
    for name, place in CAMERAS.items():
        scene.sensor(name, transform(AHEAD, place), INTRINSICS)
        scene.caption(name, START, Caption(weather="rain", time="day"))
    for i in range(25):
        time, world_from_ego = START + 200_000 * i, transform(np.eye(3), [1.0 * i, 0, 0])  # 5 m/s ahead
        van = Boxes(
            np.array([[30.0, 2, 1.1]]), np.array([[5.5, 2, 2.2]]), np.eye(3)[None], ("vehicle.truck",), ("van",)
        )
        instant = scene.instant(time, van, lidar_points=[40])  # made up: without them, a sweep is counted
        for name in CAMERAS:
            picture, jpeg = Image.new("RGB", (480, 270), "slategray"), io.BytesIO()
            ImageDraw.Draw(picture).rectangle([0, 135, 480, 270], fill="dimgray")
            picture.save(jpeg, "JPEG")
            scene.frame(name, time, world_from_ego, jpeg.getvalue(), instant)
