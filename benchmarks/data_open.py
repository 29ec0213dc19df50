"""A data set of nuScenes trainval's size: how long its index takes to build and to open, and what each worker then holds.

Tables of that size (850 scenes, 2.6 million frames, 1.2 million boxes, 224,000 captions; 3 GB of JSON) are written by repeating
those of a small town, and removed at the end. A worker counts as private what no other process shares: pages of the mapped
index are not.

    dwm town -o data/town --scenes 2
    python benchmarks/data_open.py data/town [--scenes 850] [--folder DIR] [--quick]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dwm.clip import NUSCENES_VIEWS
from dwm.data import ReadOptions, open_dataset

VERSION = "v1.0-trainval"
DRIVES, RADARS = 4, 3
"""A scene is four drives of the town one after another; its LiDAR's frames stand for three radars' too."""
BOXES = 1412
"""Boxes of a scene: 1.2 million of 850."""
DRIVE_US = 5_500_000
OWN = ("token", "prev", "next", "sample_token", "instance_token", "ego_pose_token", "scene_token")
OWN += ("first_sample_token", "last_sample_token", "first_annotation_token", "last_annotation_token")
"""Fields with tokens that are another in each scene."""


def copied(row: dict, drive: int = 0, radar: int = 0) -> dict:
    """A row of another drive: its own tokens, which end in a mark for the scene's number, and its own time."""
    found = {name: f"{value[:27]}{drive}{radar}\0" if value and name in OWN else value for name, value in row.items()}
    if "instance_token" in row:
        found["instance_token"] = f"{row['instance_token'][:27]}00\0"
    if "scene_token" in row:
        found["scene_token"] = f"{row['scene_token'][:27]}00\0"
    if radar and "sample_token" in row:
        found["sample_token"] = f"{row['sample_token'][:27]}{drive}0\0"
    if "timestamp" in row:
        found["timestamp"] = row["timestamp"] + drive * DRIVE_US
    return found


def scene_tables(tables: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """The rows of one scene, with a mark where its number belongs; and, in `common`, what all scenes share."""
    scene = tables["scene"][0]
    samples = [row for row in tables["sample"] if row["scene_token"] == scene["token"]]
    of_scene = {row["token"] for row in samples}
    frames = [row for row in tables["sample_data"] if row["sample_token"] in of_scene]
    boxes = [row for row in tables["sample_annotation"] if row["sample_token"] in of_scene]
    poses = {row["token"]: row for row in tables["ego_pose"]}
    lidar = {row["token"] for row in tables["sensor"] if row["modality"] == "lidar"}
    lidars = {row["token"] for row in tables["calibrated_sensor"] if row["sensor_token"] in lidar}
    made: dict[str, list[dict]] = {"sample": [], "sample_data": [], "ego_pose": [], "sample_annotation": []}
    for drive in range(DRIVES):
        made["sample"] += [copied(row, drive) for row in samples]
        made["sample_annotation"] += [copied(row, drive) for row in boxes]
        for row in frames:
            is_lidar = row["calibrated_sensor_token"] in lidars
            for radar in range(RADARS + 1 if is_lidar else 1):
                frame = copied(row, drive, radar)
                if radar:
                    frame["calibrated_sensor_token"] = f"radar {radar} mounted"
                made["sample_data"].append(frame)
                made["ego_pose"].append(copied(poses[row["ego_pose_token"]], drive, radar))
    for start in range(len(samples), DRIVES * len(samples), len(samples)):
        last, first = made["sample"][start - 1 : start + 1]
        last["next"], first["prev"] = first["token"], last["token"]
    made["sample_annotation"] = made["sample_annotation"][:BOXES]
    made["instance"] = [copied(row) for row in tables["instance"]]
    made["scene"] = [copied(scene) | {"name": "scene-\1", "last_sample_token": made["sample"][-1]["token"]}]
    return made


def write_tables(small: Path, folder: Path, scenes: int) -> dict[str, int]:
    """Writes thirteen tables of so many scenes, a scene at a time; the rows of each."""
    tables = {file.stem: json.loads(file.read_text()) for file in small.glob("*.json")}
    for radar in range(1, RADARS + 1):
        tables["sensor"].append({"token": f"radar {radar}", "channel": f"RADAR_{radar}", "modality": "radar"})
        row = tables["calibrated_sensor"][0]
        tables["calibrated_sensor"].append(
            row | {"token": f"radar {radar} mounted", "sensor_token": f"radar {radar}", "camera_intrinsic": []}
        )
    folder.mkdir(parents=True)
    made, rows = scene_tables(tables), {}
    for name, common in tables.items():
        part = made.get(name)
        rows[name] = len(part) * scenes if part else len(common)
        with (folder / f"{name}.json").open("w") as file:
            if part is None:
                json.dump(common, file, indent=0)
                continue
            text = json.dumps(part, indent=0)[2:-2].replace("\\u0000", "\0").replace("\\u0001", "\1")
            for scene in range(scenes):
                file.write("[\n" if scene == 0 else ",\n")
                file.write(text.replace("\0", f"{scene:03x}").replace("\1", f"{scene:04d}"))
            file.write("\n]")
    write_captions(folder.parent, made, scenes)
    return rows


def write_captions(folder: Path, made: dict[str, list[dict]], scenes: int) -> None:
    """The two caption files: five parts for each camera at each sample."""
    scene = made["scene"][0]["token"]
    stamps = [row["timestamp"] for row in made["sample"]]
    words = {
        "time": "daytime",
        "weather": "sunny, clear sky",
        "environment": "an urban street, trees along the sidewalk",
    }
    words |= {
        "objects": "two parked cars on the right, a bus ahead, traffic cones",
        "image_description": "A wide road. " * 12,
    }
    times = {f"{scene}|{view}": stamps for view in NUSCENES_VIEWS}
    captions = {f"{key}|{stamp}": words for key in times for stamp in stamps}
    for name, content in (("", captions), ("times_", times)):
        text = json.dumps(content)[1:-1].replace("\\u0000", "\0")
        with (folder / f"nuscenes_{VERSION}_caption_v2_{name}train.json").open("w") as file:
            for number in range(scenes):
                file.write(("{" if number == 0 else ", ") + text.replace("\0", f"{number:03x}"))
            file.write("}")


def memory() -> tuple[float, float]:
    """MB of this process: what no other shares, and its share of everything."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    values = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines[1:]}
    return values["Private_Clean"] + values["Private_Dirty"], values["Pss"]


OPTIONS = ReadOptions(maps=False)


def read_clips(dataset, clips: int = 200) -> float:
    """Reads the tables of clips all over the data set; seconds for each."""
    started = time.perf_counter()
    for number in range(clips):
        dataset.scenes[number * len(dataset) // clips].clip(2.0, 8, 4)
    return (time.perf_counter() - started) / clips


def forked(dataset, told: multiprocessing.Queue, gate) -> None:
    seconds = read_clips(dataset)
    gate.wait()
    private, share = memory()
    gate.wait()
    told.put(("forked", 0.0, seconds, private, share))


def spawned(folder: str, told: multiprocessing.Queue, gate) -> None:
    before, _ = memory()
    started = time.perf_counter()
    dataset = open_dataset(folder, VERSION, options=OPTIONS)
    opened = time.perf_counter() - started
    seconds = read_clips(dataset)
    gate.wait()
    private, share = memory()
    gate.wait()
    told.put(("spawned", opened, seconds, private - before, share))


def workers(method: str, work: Callable, *arguments: object) -> list[tuple]:
    context = multiprocessing.get_context(method)
    told, gate = context.Queue(), context.Barrier(2)
    started = [context.Process(target=work, args=(*arguments, told, gate)) for _ in range(2)]
    for process in started:
        process.start()
    rows = [told.get() for _ in started]
    for process in started:
        process.join()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a small data set, such as a town's")
    parser.add_argument("--scenes", type=int, default=850)
    parser.add_argument(
        "--folder", type=Path, help="where to write the large one and leave it; default: a temporary place"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the scenes")
    wanted = parser.parse_args()
    scenes = max(1, wanted.scenes // 10) if wanted.quick else wanted.scenes
    small = min(
        (file.parent for file in wanted.data.glob("*/scene.json")), key=lambda path: path.name.startswith("interp")
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = wanted.folder or Path(temporary)
        if not (folder / VERSION).is_dir():
            started = time.perf_counter()
            rows = write_tables(small, folder / VERSION, scenes)
            size = sum(file.stat().st_size for file in (folder / VERSION).iterdir())
            counts = ", ".join(
                f"{rows[name]:,} {name}" for name in ("scene", "sample_data", "sample_annotation", "ego_pose")
            )
            print(f"{counts}; {size / 1e9:.2f} GB of JSON, written in {time.perf_counter() - started:.0f} s")
        measure(folder)


def measure(folder: Path) -> None:
    started, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "dwm.cli.main", "data", "index", str(folder), "--version", VERSION]
    subprocess.run(command, check=True)
    seconds, now = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    print(f"built in {seconds:.0f} s ({processor:.0f} s of a core), at most {now.ru_maxrss / 1024:.0f} MB")
    started = time.perf_counter()
    dataset = open_dataset(folder, VERSION, options=OPTIONS)
    opened = time.perf_counter() - started
    place = dataset.index.folder
    size = sum(file.stat().st_size for file in place.iterdir()) if place else 0
    print(f"index of {size / 1e6:.0f} MB opened in {opened:.3f} s by process {os.getpid()}")
    found = workers("fork", forked, dataset) + workers("spawn", spawned, str(folder))
    print(f"{'worker':>8} {'open':>9} {'a clip':>9} {'private':>9} {'share':>9}")
    for kind, opening, clip, private, share in found:
        print(f"{kind:>8} {opening:7.3f} s {1e3 * clip:6.2f} ms {private:6.0f} MB {share:6.0f} MB")


if __name__ == "__main__":
    main()
