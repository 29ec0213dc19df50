"""The data sets of OpenDWM's LiDAR runs, as fields of ours. Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dwm.opendwm.config.data import KINDS, LAYOUT_PACKAGE, PREVIEW, SPLITS, TYPED, walk_sets
from dwm.opendwm.config.files import State, read_files
from dwm.opendwm.config.reader import Section

KITTI = "dwm.datasets.kitti360.MotionDataset"
LIDAR_KINDS = {name: kind for name, kind in KINDS.items() if kind != "opendv"} | {KITTI: "kitti360"}
STATE_NAMES = {"nuscenes": "nuscenes", "waymo": "waymo", "argoverse": "argoverse", "kitti360": "kitti360"}
COMPOSE, RESIZE, TENSOR, NORMALIZE = (
    f"torchvision.transforms.{name}" for name in ("Compose", "Resize", "ToTensor", "Normalize")
)
FILTER, TAKE = "dwm.datasets.common.FilterPoints", "dwm.datasets.common.TakePoints"
BOXES, MAP = "3dbox_bev_images", "hdmap_bev_images"
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

ALWAYS = "calibration, poses, times and names of files are always read"
CLOCK = "the LiDAR alone is read and is the clock; pictures are popped from every item there"
SHOWN = "pictures that previews show are made from those that the network is told"
ONE_DRIVES = "KITTI-360 has one version, and its sweeps no key frames"


@dataclass
class ReadSweeps:
    """What the sets of one list have in common beside their sources."""

    sources: list[dict[str, Any]] = field(default_factory=list)
    common: dict[str, Any] = field(default_factory=dict)
    birdseye: dict[str, Any] = field(default_factory=dict)

    def say(self, section: Section, key: str, values: dict[str, Any], of: dict[str, Any]) -> None:
        """Notes values that all sets share. Raises DwmError where two say different things."""
        for name, value in values.items():
            if of.setdefault(name, value) != value:
                raise section.fault(key, f"{name} is {value} here and {of[name]} before; give all the same")


SHARED = ("nearest", "farthest", "boxes", "map")
"""What sets to train on and sets to look at have in common."""


def read_sweeps(section: Section, state: State, before: ReadSweeps | None = None) -> ReadSweeps:
    """Of `training_dataset` or `validation_dataset`. Raises DwmError for sets that are prepared otherwise than those `before`."""
    read = ReadSweeps()
    if before is not None and before.sources:
        read.common = {key: before.common[key] for key in SHARED if key in before.common}
        read.birdseye = dict(before.birdseye)

    def add(part: Section, name: str) -> None:
        read.sources.append(_package(part) if name == PREVIEW else _set(part, LIDAR_KINDS[name], state, read))

    walk_sets(section, (PREVIEW, *LIDAR_KINDS), lambda transform: _transform(transform, read), add)
    if before is not None and before.sources and read.birdseye != before.birdseye:
        raise section.fault("", "boxes or map from above are drawn otherwise than in training_dataset; draw both alike")
    return read


def _set(section: Section, kind: str, state: State, read: ReadSweeps) -> dict[str, Any]:
    source: dict[str, Any] = {
        "kind": kind,
        **read_files(section.section("fs"), state, STATE_NAMES[kind]).values(),
        "views": [],
        "frames": section.take_as(int, "sequence_length"),
        "rates": section.take_as(list, "fps_stride_tuples"),
        "check_times": section.take_as(bool, "enable_synchronization_check", True),
    }
    split = section.take_as((str, type(None)), "split", None)
    source["split"] = SPLITS.get(split, split)
    if kind == "nuscenes":
        source["version"] = section.take_as(str, "dataset_name")
        source["key_frames_only"] = section.take_as(bool, "keyframe_only", False)
        source["boxes_between"] = False  # OpenDWM draws no boxes there
    elif kind == "kitti360":
        section.ignore(ONE_DRIVES, "dataset_name", "keyframe_only")
    else:
        section.ignore(ONE_DRIVES, "keyframe_only")
    if kind == "waymo":
        source["index"] = section.take_as(str, "info_dict_path")
    section.ignore(CLOCK, "sensor_channels")
    section.ignore(
        ALWAYS, "enable_camera_transforms", "enable_ego_transforms", "enable_sample_data", "stub_key_data_dict"
    )
    _drawing(section, read, "_3dbox_bev_settings", "fill_box", "fill_boxes", "box_colors")
    _drawing(section, read, "hdmap_bev_settings", "fill_map", "fill_map", "map_colors")
    return source


def _drawing(section: Section, read: ReadSweeps, key: str, fill: str, ours: str, colors: str) -> None:
    """How boxes or map are drawn from above."""
    settings = section.maybe(key)
    if settings is None:
        return
    width, height = settings.take("bev_size", [640, 640])
    values: dict[str, Any] = {
        "size": [width, height],
        "pen_width": settings.take_as(int, "pen_width", 2),
        ours: settings.take_as(bool, fill, ours == "fill_map"),
        **_placed(settings, width, height),
    }
    if (table := settings.take("color_table", None)) is not None:
        values[colors] = table
    settings.close()
    read.say(section, key, values, read.birdseye)


def _placed(settings: Section, width: int, height: int) -> dict[str, Any]:
    """Scale and direction of a matrix from the vehicle's frame to pixels. Raises DwmError for one that turns or moves."""
    key = "bev_from_ego_transform"
    rows = settings.take_as(
        list, key, [[6.4, 0, 0, width / 2], [0, -6.4, 0, height / 2], [0, 0, -6.4, 0], [0, 0, 0, 1]]
    )
    try:
        scale, down = float(rows[0][0]), float(rows[1][1])
        straight = [float(rows[0][1]), float(rows[1][0])] == [0, 0]
        middle = [float(rows[0][3]), float(rows[1][3])] == [width / 2, height / 2]
    except (IndexError, TypeError, ValueError):
        raise settings.fault(key, "expected a matrix of four rows and columns") from None
    if not (scale > 0 and abs(down) == scale and straight and middle):
        raise settings.fault(key, f"only pictures of one scale around the vehicle are drawn, found {str(rows)[:80]}")
    return {"pixels_per_metre": scale, "left_is_up": down < 0}


def _transform(section: Section, read: ReadSweeps) -> None:
    """One line of a transform list."""
    old, new = section.take_as(str, "old_key"), section.take_as(str, "new_key")
    section.ignore(TYPED, "stack")
    if old == new == "lidar_points":
        _points(section, read)
    elif old in (BOXES, MAP) and new == old:
        _layout(section, old, read)
    elif new in ("vae_images", f"{BOXES}_denorm", f"{MAP}_denorm"):
        section.ignore(CLOCK if old == "images" else SHOWN, "transform")
    else:
        raise section.fault("old_key", f"{old} → {new} is not known; known: lidar_points, {BOXES}, {MAP}, images")
    section.close()


def _points(section: Section, read: ReadSweeps) -> None:
    transform = section.section("transform")
    transform.class_name((COMPOSE,))
    for step in transform.sections("transforms"):
        if step.class_name((FILTER, TAKE)) == FILTER:
            values = {"nearest": step.take("min_distance", 0.0), "farthest": step.take("max_distance")}
        else:
            values = {"points": step.take_as(int, "max_count")}
        step.close()
        read.say(section, "transform", values, read.common)
    transform.close()


def _layout(section: Section, old: str, read: ReadSweeps) -> None:
    """Boxes or map from above: at the size that they are drawn in, normalised as published."""
    transform = section.section("transform")
    transform.class_name((COMPOSE,))
    for step in transform.sections("transforms"):
        name = step.class_name((RESIZE, TENSOR, NORMALIZE))
        if name == RESIZE:
            height, width = step.take_as(list, "size")
            if [width, height] != read.birdseye.get("size", [width, height]):
                size = " x ".join(map(str, read.birdseye["size"]))
                raise step.fault("size", f"is {width} x {height}, drawn at {size}; draw at the size that is wanted")
        elif name == NORMALIZE and (step.take("mean"), step.take("std")) != (MEAN, DEVIATION):
            raise step.fault("mean", f"only {MEAN} with the deviations {DEVIATION} is known")
        step.close()
    transform.close()
    read.common["boxes" if old == BOXES else "map"] = True


def _package(section: Section) -> dict[str, Any]:
    """A folder of sweeps and pictures from above with its JSON."""
    source: dict[str, Any] = {
        "kind": LAYOUT_PACKAGE,
        "path": section.take_as(str, "json_file"),
        "frames": section.take_as(int, "sequence_length"),
        "rates": section.take_as(list, "fps_stride_tuples"),
        "views": [],
        "check_times": False,
    }
    section.ignore(CLOCK, "sensor_channels", "use_3dbox", "use_hdmap")
    section.ignore(ALWAYS, "enable_camera_transforms", "stub_key_data_dict")
    for key in ("use_3dbox_bev", "use_hdmap_bev"):
        if not section.take_as(bool, key, False):
            raise section.fault(key, "false: the network is told boxes and map from above")
    return source
