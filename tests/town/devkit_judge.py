"""The official nuScenes devkit as a judge of a written set. Run by the devkit's own Python, never imported by ours:

    python devkit_judge.py DATAROOT VERSION PICTURES

Walks every link of every table, compares point counts, velocities and files, loads every place's map, and renders boxes and
map over pictures into PICTURES. Prints a JSON summary and ends with 0, or with the first fault it meets.
"""

import itertools
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from nuscenes.map_expansion.map_api import NuScenesMap
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import BoxVisibility, points_in_box
from nuscenes.utils.splits import create_splits_scenes
from PIL import Image

FOREIGN = {
    "calibrated_sensor": {"sensor_token": "sensor"},
    "instance": {
        "category_token": "category",
        "first_annotation_token": "sample_annotation",
        "last_annotation_token": "sample_annotation",
    },
    "sample": {"scene_token": "scene"},
    "sample_annotation": {
        "sample_token": "sample",
        "instance_token": "instance",
        "visibility_token": "visibility",
        "attribute_tokens": "attribute",
    },
    "sample_data": {
        "sample_token": "sample",
        "ego_pose_token": "ego_pose",
        "calibrated_sensor_token": "calibrated_sensor",
    },
    "scene": {"log_token": "log", "first_sample_token": "sample", "last_sample_token": "sample"},
    "map": {"log_tokens": "log"},
}
CAMERAS = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT")


def check(holds, *words):
    if not holds:
        sys.exit("FAULT: " + " ".join(map(str, words)))


def tokens_and_foreign_keys(nusc):
    for table in nusc.table_names:
        rows = getattr(nusc, table)
        check(rows, "table", table, "is empty")
        check(len({row["token"] for row in rows}) == len(rows), "tokens of", table, "are not unique")
        for row, (field, other) in itertools.product(rows, FOREIGN.get(table, {}).items()):
            for token in row[field] if isinstance(row[field], list) else [row[field]]:
                check(token in nusc._token2ind[other], table, row["token"], field, "names no", other)


def walk(nusc, table, first, stamp, may_stand=False):
    """The rows from one on, checking that prev mirrors next and that time rises (or stands, where sweeps are repeated)."""
    rows, token = [], first
    check(nusc.get(table, first)["prev"] == "", table, first, "begins a chain but has a prev")
    while token:
        row = nusc.get(table, token)
        if rows:
            check(row["prev"] == rows[-1]["token"], table, token, "prev is not the inverse of next")
            rises = stamp(row) > stamp(rows[-1]) or (may_stand and stamp(row) == stamp(rows[-1]))
            check(rises, table, token, "time does not rise")
        rows.append(row)
        token = row["next"]
    return rows


def chains(nusc):
    visited = {"sample": 0, "sample_data": 0, "sample_annotation": 0}
    for scene in nusc.scene:
        samples = walk(nusc, "sample", scene["first_sample_token"], lambda row: row["timestamp"])
        visited["sample"] += len(samples)
        check(samples[-1]["token"] == scene["last_sample_token"], scene["name"], "last_sample_token")
        check(len(samples) == scene["nbr_samples"], scene["name"], "nbr_samples")
        for channel, token in samples[0]["data"].items():
            may_stand = not nusc.version.startswith("v1.0") and channel == "LIDAR_TOP"
            rows = walk(nusc, "sample_data", token, lambda row: row["timestamp"], may_stand)
            visited["sample_data"] += len(rows)
            keys = [row["sample_token"] for row in rows if row["is_key_frame"]]
            check(keys == [s["token"] for s in samples], scene["name"], channel, "has not one key frame a sample")
            check({row["channel"] for row in rows} == {channel}, scene["name"], channel, "chain changes its channel")
    stamp_of = {row["token"]: row["timestamp"] for row in nusc.sample}
    for instance in nusc.instance:
        rows = walk(
            nusc, "sample_annotation", instance["first_annotation_token"], lambda r: stamp_of[r["sample_token"]]
        )
        visited["sample_annotation"] += len(rows)
        check(rows[-1]["token"] == instance["last_annotation_token"], "instance", instance["token"], "last annotation")
        check(len(rows) == instance["nbr_annotations"], "instance", instance["token"], "nbr_annotations")
        check({r["instance_token"] for r in rows} == {instance["token"]}, "instance", instance["token"], "chain")
    for table, count in visited.items():
        check(count == len(getattr(nusc, table)), table, "has rows that no chain reaches")


def files(nusc):
    for row in nusc.sample_data:
        path = Path(nusc.get_sample_data_path(row["token"]))
        check(path.is_file(), "no file", path)
        if row["sensor_modality"] == "camera":
            with Image.open(path) as picture:
                check(picture.size == (row["width"], row["height"]), path, "has size", picture.size)
        else:
            check(LidarPointCloud.from_file(str(path)).nbr_points() > 5000, path, "has few points")
        pose = nusc.get("ego_pose", row["ego_pose_token"])
        check(pose["timestamp"] == row["timestamp"], row["token"], "ego pose is of another time")


def boxes(nusc, count_points):
    fastest, counted, difference = 0.0, 0, 0
    for annotation in nusc.sample_annotation:
        ends = [nusc.get("sample_annotation", annotation[way]) for way in ("prev", "next") if annotation[way]]
        stamps = [nusc.get("sample", row["sample_token"])["timestamp"] for row in (*ends, annotation)]
        if ends and max(stamps) - min(stamps) <= 1.5e6 * len(ends):  # what vanished for longer has none
            velocity = nusc.box_velocity(annotation["token"])
            check(np.isfinite(velocity).all(), "velocity of", annotation["token"], velocity)
            fastest = max(fastest, float(np.linalg.norm(velocity)))
    check(1 < fastest < 40, "the fastest box moves at", fastest, "m/s")
    for sample in nusc.sample if count_points else []:
        path, found, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = LidarPointCloud.from_file(path).points[:3]
        for box in found:
            inside = int(points_in_box(box, points).sum())
            wanted = nusc.get("sample_annotation", box.token)["num_lidar_pts"]
            counted += wanted
            difference += abs(inside - wanted)
            check(abs(inside - wanted) <= 2 + 0.02 * wanted, box.token, box.name, inside, "points, written", wanted)
    return {"fastest m/s": round(fastest, 1), "points in boxes": counted, "points that differ": difference}


def in_pictures(nusc):
    counts = []
    for sample in nusc.sample:
        seen = set()
        for channel in CAMERAS:
            _, found, _ = nusc.get_sample_data(sample["data"][channel], box_vis_level=BoxVisibility.ANY)
            seen |= {box.token for box in found}
        counts.append(len(seen))
    check(max(counts) > 0, "no box is in any picture")
    return {"boxes in pictures of a sample": round(float(np.mean(counts)), 1)}


def maps(nusc, root):
    found = {}
    masks = {log["token"]: nusc.get("map", log["map_token"])["mask"] for log in nusc.log}
    for place in sorted({log["location"] for log in nusc.log}):
        nusc_map = NuScenesMap(root, place)
        found[place] = {layer: len(getattr(nusc_map, layer)) for layer in nusc_map.non_geometric_layers}
        lanes = {row["token"] for row in nusc_map.lane + nusc_map.lane_connector}
        check(set(nusc_map.connectivity) == lanes == set(nusc_map.arcline_path_3), place, "graphs and lanes differ")
        for token, ways in nusc_map.connectivity.items():
            for other in ways["outgoing"]:
                check(token in nusc_map.connectivity[other]["incoming"], place, "lane graph is one-sided at", token)
        for line in nusc_map.discretize_centerlines(1.0):
            check(len(line) > 1 and np.isfinite(line).all(), place, "a centre line is broken")
        for layer in nusc_map.lookup_polygon_layers:
            if layer != "drivable_area":
                for row in getattr(nusc_map, layer):
                    check(nusc_map.extract_polygon(row["polygon_token"]).is_valid, place, layer, row["token"])
        for scene in nusc.scene:
            if nusc.get("log", scene["log_token"])["location"] == place:
                on_the_road(nusc, nusc_map, scene, masks[scene["log_token"]])
    return found


def on_the_road(nusc, nusc_map, scene, mask):
    for token in (scene["first_sample_token"], scene["last_sample_token"]):
        data = nusc.get("sample_data", nusc.get("sample", token)["data"]["LIDAR_TOP"])
        x, y, _ = nusc.get("ego_pose", data["ego_pose_token"])["translation"]
        check(nusc_map.layers_on_point(x, y)["drivable_area"], scene["name"], "the car is off the road at", x, y)
        check(mask.is_on_mask(x, y).all(), scene["name"], "the mask has no road at", x, y)
        lane = nusc_map.get_closest_lane(x, y, radius=5)
        check(lane, scene["name"], "no lane near", x, y)
        check(nusc_map.discretize_lanes([lane], 1.0)[lane], scene["name"], "lane without a path")


def pictures(nusc, root, folder):
    """Boxes over all six cameras and the map over the front camera, for a sample in the middle of each scene."""
    drawn = 0
    for scene in nusc.scene:
        samples = walk(nusc, "sample", scene["first_sample_token"], lambda row: row["timestamp"])
        sample = samples[len(samples) // 2]
        for channel in (*CAMERAS, "LIDAR_TOP"):
            out = folder / f"{scene['name']}_{channel}_boxes.png"
            nusc.render_sample_data(sample["data"][channel], out_path=str(out), verbose=False)
            plt.close("all")
        nusc_map = NuScenesMap(root, nusc.get("log", scene["log_token"])["location"])
        layers = ["road_segment", "lane", "ped_crossing", "walkway", "stop_line", "carpark_area"]
        for channel in ("CAM_FRONT", "CAM_BACK"):
            out = folder / f"{scene['name']}_{channel}_map.png"
            _, axes = nusc_map.render_map_in_image(
                nusc, sample["token"], layer_names=layers, camera_channel=channel, out_path=str(out)
            )
            drawn += len(axes.patches)
            plt.close("all")
    check(drawn > 0, "no piece of the map was drawn over any picture")
    return {"map pieces drawn": drawn}


def main(root, version, folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    nusc = NuScenes(version, root, verbose=False)
    is_key_set = version.startswith("v1.0")
    tokens_and_foreign_keys(nusc)
    chains(nusc)
    if is_key_set:
        files(nusc)
    summary = {"rows": {table: len(getattr(nusc, table)) for table in nusc.table_names}}
    summary.update(boxes(nusc, count_points=is_key_set))
    summary.update(in_pictures(nusc))
    summary["maps"] = maps(nusc, root)
    if is_key_set:
        summary.update(pictures(nusc, root, folder))
    official = create_splits_scenes()
    summary["splits"] = {
        split: sorted(row["name"] for row in nusc.scene if row["name"] in official[split])
        for split in ("train", "val", "mini_train", "mini_val")
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main(*sys.argv[1:])
