"""The words of the nuScenes format that do not depend on a scene: tokens, vocabularies, scene names, places, static tables."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from dwm.conventions import NUSCENES_VIEWS

Row = dict[str, Any]

TABLES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
)
LIDAR = "LIDAR_TOP"
CHANNELS = (LIDAR, *NUSCENES_VIEWS)

CAMERA_LEAD_US = {
    "CAM_FRONT_LEFT": -42_970,
    "CAM_FRONT": -35_365,
    "CAM_FRONT_RIGHT": -27_287,
    "CAM_BACK_RIGHT": -19_656,
    "CAM_BACK": -10_211,
    "CAM_BACK_LEFT": -364,
}
"""When each camera fires relative to the LiDAR stamp of a key frame, in µs: the LiDAR's beam passes over them clockwise."""

CATEGORIES = {
    "human.pedestrian.adult": "A grown-up on foot.",
    "human.pedestrian.child": "A child on foot.",
    "human.pedestrian.construction_worker": "Somebody who works at a building site.",
    "human.pedestrian.police_officer": "A police officer on foot.",
    "human.pedestrian.wheelchair": "A wheelchair and who sits in it.",
    "human.pedestrian.stroller": "A stroller.",
    "human.pedestrian.personal_mobility": "A small vehicle on which a person stands.",
    "animal": "Any animal.",
    "vehicle.car": "A car or van for personal use.",
    "vehicle.motorcycle": "A motorcycle with its rider.",
    "vehicle.bicycle": "A bicycle with its rider.",
    "vehicle.bus.bendy": "One section of a bendy bus.",
    "vehicle.bus.rigid": "A rigid bus.",
    "vehicle.truck": "A vehicle that hauls cargo.",
    "vehicle.construction": "A vehicle for building work.",
    "vehicle.emergency.ambulance": "An ambulance.",
    "vehicle.emergency.police": "A police vehicle.",
    "vehicle.trailer": "A trailer.",
    "movable_object.barrier": "A temporary barrier on the road.",
    "movable_object.trafficcone": "A traffic cone.",
    "movable_object.pushable_pullable": "Something that a person can push or pull.",
    "movable_object.debris": "Something left on the road.",
    "static_object.bicycle_rack": "A rack with its bicycles.",
}

ATTRIBUTES = {
    "vehicle.moving": "The vehicle moves.",
    "vehicle.stopped": "The vehicle stands for a moment and means to move.",
    "vehicle.parked": "The vehicle stands and does not mean to move.",
    "cycle.with_rider": "Somebody rides it.",
    "cycle.without_rider": "Nobody rides it.",
    "pedestrian.sitting_lying_down": "The person sits or lies.",
    "pedestrian.standing": "The person stands.",
    "pedestrian.moving": "The person walks.",
}

VISIBILITIES = (("v0-40", 0, 40), ("v40-60", 40, 60), ("v60-80", 60, 80), ("v80-100", 80, 100))

LOCATIONS = {
    "singapore-onenorth": "53992ee3023e5494b90c316c183be829",
    "boston-seaport": "36092f0b03a857c6a3403e25b4b7aab3",
    "singapore-queenstown": "93406b464a165eaba6d9de76ca09f5da",
    "singapore-hollandvillage": "37819e65e09e5547b8a3ceaefba56bb2",
}
"""Place → file name of its mask. Readers of the format know only these four places, and the masks by these names."""

MINI = (61, 103, 655, 757, 916, 1077, 1094, 1100)
"""Scenes of the official mini split whose part (train or val) the official full split agrees with."""

TRAIN = (*range(410, 460), *range(224, 265), *range(639, 655), *range(656, 680), *range(347, 387))
VAL = (*range(92, 103), *range(104, 111), *range(268, 279), *range(904, 916), *range(919, 932), *range(1059, 1074))
VAL_EVERY = 5
MAX_SCENES = 200


def token(*words: object) -> str:
    """A token of 32 hexadecimal digits that depends on `words` alone."""
    return hashlib.blake2b("|".join(map(str, words)).encode(), digest_size=16).hexdigest()


def scene_number(index: int) -> int:
    """The official number that scene `index` borrows, so that official splits sort it: mini's first, then 4 train to 1 val."""
    if index < len(MINI):
        return MINI[index]
    group, remainder = divmod(index - len(MINI), VAL_EVERY)
    return VAL[group] if remainder == VAL_EVERY - 1 else TRAIN[group * (VAL_EVERY - 1) + remainder]


def scene_name(index: int) -> str:
    """`scene-0061`, …: the name by which official splits know it."""
    return f"scene-{scene_number(index):04d}"


def is_val(index: int) -> bool:
    """Whether scene `index` belongs to the official val split (and mini_val), else to train (and mini_train)."""
    return scene_number(index) in (*VAL, 103, 916)


def location(index: int) -> str:
    """The place of scene `index`: the four take turns."""
    return tuple(LOCATIONS)[index % len(LOCATIONS)]


def log_row(index: int, start_us: int) -> Row:
    """The log of one scene, which was driven at `start_us` (µs)."""
    boston = location(index).startswith("boston")
    start = datetime.fromtimestamp(start_us // 1_000_000, timezone(timedelta(hours=-4 if boston else 8)))
    vehicle = "n908" if boston else "n915"
    logfile = f"{vehicle}-{start:%Y-%m-%d-%H-%M-%S%z}"
    return {
        "token": token("log", logfile),
        "logfile": logfile,
        "vehicle": vehicle,
        "date_captured": f"{start:%Y-%m-%d}",
        "location": location(index),
    }


def static_tables() -> dict[str, list[Row]]:
    """The four tables that every set shares."""
    return {
        "attribute": [{"token": token("attribute", k), "name": k, "description": v} for k, v in ATTRIBUTES.items()],
        "category": [{"token": token("category", k), "name": k, "description": v} for k, v in CATEGORIES.items()],
        "sensor": [
            {"token": token("sensor", c), "channel": c, "modality": "lidar" if c == LIDAR else "camera"}
            for c in CHANNELS
        ],
        "visibility": [
            {
                "description": f"visibility of whole object is between {low} and {high}%",
                "token": str(i),
                "level": level,
            }
            for i, (level, low, high) in enumerate(VISIBILITIES, 1)
        ],
    }


def map_row(name: str, file: str, log_tokens: Sequence[str]) -> Row:
    """A row of the map table: the mask of a place ("": it has none) for its logs."""
    return {"category": "semantic_prior", "token": name, "filename": file, "log_tokens": list(log_tokens)}


def map_rows(log_tokens: dict[str, Sequence[str]]) -> list[Row]:
    """The map table: a mask for each place that has logs."""
    return [
        map_row(LOCATIONS[location], f"maps/{LOCATIONS[location]}.png", tokens)
        for location, tokens in log_tokens.items()
    ]


def link(rows: Sequence[Row]) -> None:
    """Writes prev and next into rows that follow one another."""
    for i, row in enumerate(rows):
        row["prev"] = rows[i - 1]["token"] if i else ""
        row["next"] = rows[i + 1]["token"] if i + 1 < len(rows) else ""
