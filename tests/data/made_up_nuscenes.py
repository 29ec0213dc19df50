"""A made-up nuScenes set for tests: straight drives at 10 m/s past one car, six cameras with sweeps, a LiDAR, a map, captions."""

import io
import json

import numpy as np
from PIL import Image

CAMERAS = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT")
YAWS = dict(zip(CAMERAS, (55, 0, -55, -110, 180, 110), strict=True))
FORWARD = np.array([0.5, -0.5, 0.5, -0.5])  # ego from a camera that looks along x
SIZE = (64, 36)
START = 1_500_000_000_000_000


def times(quaternion, other):
    w, x, y, z = quaternion
    a, b, c, d = other
    return np.array(
        [
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        ]
    )


def yaw(degrees):
    return np.array([np.cos(np.radians(degrees) / 2), 0, 0, np.sin(np.radians(degrees) / 2)])


def make_tables(scenes=("scene-0103", "scene-0916"), samples=4, sweeps=5):
    """The thirteen tables as dicts: key frames at 2 Hz, `sweeps` more between them, cameras 20 ms before the LiDAR."""
    tables = {name: [] for name in ("scene", "sample", "sample_data", "ego_pose", "sample_annotation", "instance")}
    tables["log"] = [{"token": "log", "location": "made-up-town"}]
    tables["map"] = [{"token": "map", "filename": "", "log_tokens": ["log"], "category": "semantic_prior"}]
    tables["category"] = [{"token": "car", "name": "vehicle.car", "description": ""}]
    tables["attribute"], tables["visibility"] = [], []
    tables["sensor"] = [{"token": c, "channel": c, "modality": "camera"} for c in CAMERAS]
    tables["sensor"].append({"token": "LIDAR_TOP", "channel": "LIDAR_TOP", "modality": "lidar"})
    tables["calibrated_sensor"] = [
        {
            "token": f"{c} mounted",
            "sensor_token": c,
            "translation": [1.0, 0.0, 1.5],
            "rotation": times(yaw(YAWS[c]), FORWARD).tolist(),
            "camera_intrinsic": [[40.0, 0.0, 32.0], [0.0, 40.0, 18.0], [0.0, 0.0, 1.0]],
        }
        for c in CAMERAS
    ]
    tables["calibrated_sensor"].append(
        {
            "token": "LIDAR_TOP mounted",
            "sensor_token": "LIDAR_TOP",
            "translation": [1.0, 0, 1.8],
            "rotation": [1.0, 0, 0, 0],
        }
        | {"camera_intrinsic": []}
    )
    for number, name in enumerate(scenes):
        add_scene(tables, name, START + number * 60_000_000, samples, sweeps)
    return tables


def add_scene(tables, name, start, samples, sweeps):
    token = [f"{name} sample {i}" for i in range(samples)]
    tables["scene"].append(
        {"token": f"{name} token", "name": name, "log_token": "log", "description": f"{name} described"}
        | {"first_sample_token": token[0], "last_sample_token": token[-1], "nbr_samples": samples}
    )
    tables["instance"].append({"token": f"{name} car", "category_token": "car"})
    for i in range(samples):
        around = {"prev": token[i - 1] if i else "", "next": token[i + 1] if i + 1 < samples else ""}
        tables["sample"].append(
            {"token": token[i], "scene_token": f"{name} token", "timestamp": start + i * 500_000, **around}
        )
        tables["sample_annotation"].append(
            {
                "token": f"{token[i]} box",
                "sample_token": token[i],
                "instance_token": f"{name} car",
                "prev": "",
                "next": "",
            }
            | {"translation": [20.0 + 3 * i, 2.0, 0.8], "size": [2.0, 4.0, 1.6], "rotation": yaw(10 * i).tolist()}
            | {"visibility_token": "", "attribute_tokens": [], "num_lidar_pts": 1, "num_radar_pts": 0}
        )
        for channel in (*CAMERAS, "LIDAR_TOP"):
            early = 0 if channel == "LIDAR_TOP" else 20_000
            for k in range(sweeps + 1 if i + 1 < samples else 1):
                stamp = start + i * 500_000 + round(k * 500_000 / (sweeps + 1)) - early
                add_frame(tables, channel, token[i], stamp, (stamp - start) * 1e-5, k == 0)


def add_frame(tables, channel, sample, stamp, metres, key):
    token = f"{channel} {stamp}"
    ending = "bin" if channel == "LIDAR_TOP" else "jpg"
    tables["ego_pose"].append(
        {"token": token, "timestamp": stamp, "translation": [metres, 0.0, 0.0], "rotation": [1.0, 0.0, 0.0, 0.0]}
    )
    tables["sample_data"].append(
        {
            "token": token,
            "sample_token": sample,
            "ego_pose_token": token,
            "calibrated_sensor_token": f"{channel} mounted",
        }
        | {"timestamp": stamp, "fileformat": ending, "is_key_frame": key, "width": SIZE[0], "height": SIZE[1]}
        | {"filename": f"{'samples' if key else 'sweeps'}/{channel}/{stamp}.{ending}", "prev": "", "next": ""}
    )


MAP = {
    "version": "1.3",
    "node": [{"token": str(i), "x": x, "y": y} for i, (x, y) in enumerate([(-50, -6), (150, -6), (150, 6), (-50, 6)])],
    "polygon": [{"token": "road", "exterior_node_tokens": ["0", "1", "2", "3"], "holes": []}],
    "lane": [{"token": "lane", "polygon_token": "road"}],
    "drivable_area": [{"token": "area", "polygon_tokens": ["road"]}],
    "ped_crossing": [],
}


def make_files(tables, version="v1.0-mini", captions=True):
    """The whole set as file contents by name."""
    files = {f"{version}/{name}.json": json.dumps(rows, indent=0).encode() for name, rows in tables.items()}
    files["expansion/made-up-town.json"] = json.dumps(MAP).encode()
    for row in tables["sample_data"]:
        if row["filename"].endswith("jpg"):
            data = io.BytesIO()
            Image.new("RGB", SIZE, (int(row["timestamp"]) // 1000 % 256, 90, 200)).save(data, "JPEG")
            files[row["filename"]] = data.getvalue()
        else:
            files[row["filename"]] = np.arange(10, dtype=np.float32).tobytes()
    if captions:
        times_of = {}
        for row in tables["sample_data"]:
            if row["is_key_frame"] and row["filename"].endswith("jpg"):
                scene = row["sample_token"].split(" sample")[0] + " token"
                times_of.setdefault(f"{scene}|{row['token'].split(' ')[0]}", []).append(row["timestamp"])
        files["caption_times.json"] = json.dumps(times_of).encode()
        files["captions.json"] = json.dumps(
            {
                f"{key}|{t}": {"time": "day", "weather": key, "objects": str(t)}
                for key, ts in times_of.items()
                for t in ts
            }
        ).encode()
    return files


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder
