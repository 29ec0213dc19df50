"""How far interpolated boxes lie from the truth: a town is written with its true 12 Hz boxes, and made anew from its key frames.

    python benchmarks/interpolation.py [--scenes 4] [--seconds 10] [--seed 11] [--grouping by_time]

Prints a table of position and yaw errors of the boxes between key frames; asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from dwm.data.nuscenes.interpolate import interpolate
from dwm.geometry import rotation_from_quaternion
from dwm.storage import open_tree
from dwm.town import write_nuscenes
from dwm.town.nuscenes.writer import TWELVE_HZ, NuScenesOptions

Rows = list[dict]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--grouping", choices=("by_time", "compat"), default="by_time")
    parser.add_argument("--quick", action="store_true", help="one scene of three seconds")
    given = parser.parse_args()
    scenes, seconds = (1, 3.0) if given.quick else (given.scenes, given.seconds)
    options = NuScenesOptions(seconds=seconds, size=(32, 18), lidar_hz=10)
    with tempfile.TemporaryDirectory() as folder:
        town = write_nuscenes(Path(folder) / "town", scenes, given.seed, options=options, workers=1)
        started = time.perf_counter()
        made = interpolate(open_tree(town), options.version, Path(folder) / "made", given.grouping)
        spent = time.perf_counter() - started
        names = category_names(town / TWELVE_HZ)
        report(rows(town / TWELVE_HZ), rows(Path(folder) / "made"), names)
    print(f"\n{made.scenes} scenes, {made.samples} samples, {made.boxes} boxes in {spent:.1f} s")
    print(f"pictures shown twice {made.repeated}; gaps of the front camera by their sweeps {made.gaps}")
    print("largest distance of a file's time from its sample's, ms:", {k: round(v) for k, v in made.lag.items()})


def rows(folder: Path, table: str = "sample_annotation") -> Rows:
    return json.loads((folder / f"{table}.json").read_text())


def category_names(folder: Path) -> dict[str, str]:
    """Category by instance."""
    names = {row["token"]: row["name"] for row in rows(folder, "category")}
    return {row["token"]: names[row["category_token"]] for row in rows(folder, "instance")}


def report(truth: Rows, made: Rows, names: dict[str, str]) -> None:
    keys = {row["token"] for row in truth if len(row["token"]) == 32}
    of = {row["token"]: row for row in made}
    pairs = [(row, of[row["token"]]) for row in truth if row["token"] not in keys and row["token"] in of]
    between = sum(row["token"] not in keys for row in truth)
    place, other = (np.array([pair[i]["translation"] for pair in pairs]) for i in (0, 1))
    turn, turned = (rotation_from_quaternion(np.array([pair[i]["rotation"] for pair in pairs])) for i in (0, 1))
    far = np.linalg.norm(place - other, axis=1)
    yaw = np.degrees(np.abs(np.angle(np.exp(1j * (heading(turn) - heading(turned))))))
    kind = np.array([names[row["instance_token"]] for row, _ in pairs])
    moves = speeds(truth, keys, pairs) > 0.5
    print(f"boxes between key frames: {between} true ones, {len(pairs)} of them made\n")
    print(f"{'boxes':24} {'':>7} {'position, cm':^31} {'yaw, degrees':^31}")
    print(f"{'':24} {'number':>7}" + 2 * f" {'median':>9} {'99 %':>9} {'largest':>10} ")
    vehicle = np.char.startswith(kind, "vehicle")
    parts = {"all": np.ones(len(pairs), bool), "moving": moves, "moving vehicles": moves & vehicle}
    parts |= {"moving people": moves & np.char.startswith(kind, "human")}
    for name, part in parts.items():
        if part.any():
            figures = [f(values) for values in (100 * far[part], yaw[part]) for f in (np.median, p99, np.max)]
            print(
                f"{name:24} {part.sum():7}"
                + "".join(f" {a:9.2f} {b:9.2f} {c:10.2f} " for a, b, c in (figures[:3], figures[3:]))
            )


def heading(rotation: np.ndarray) -> np.ndarray:
    return np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])


def p99(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.99))


def speeds(truth: Rows, keys: set[str], pairs: list[tuple[dict, dict]]) -> np.ndarray:
    """m/s from the key frame before each box."""
    key = {row["token"]: row["translation"] for row in truth if row["token"] in keys}
    moved = [np.linalg.norm(np.subtract(row["translation"], key[row["token"][:32]])) for row, _ in pairs]
    return np.array(moved) / np.array([int(row["token"][32:]) / 12 for row, _ in pairs])


if __name__ == "__main__":
    main()
