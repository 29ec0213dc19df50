"""OpenDWM's data sets, as the sources of a recipe. Opens nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from dwm.data.options import OPENDWM_BOX_COLORS
from dwm.errors import nearest
from dwm.opendwm.config.files import State, read_files
from dwm.opendwm.config.reader import Section

ADAPTER = "dwm.datasets.common.DatasetAdapter"
CONCAT = "torch.utils.data.ConcatDataset"
PREVIEW = "dwm.datasets.preview.PreviewDataset"
CAPTION_KEYS = ("time", "weather", "environment", "objects", "image_description")
KINDS = {f"dwm.datasets.{name}.MotionDataset": name for name in ("nuscenes", "waymo", "argoverse", "opendv")}
SETS = (*KINDS, PREVIEW)
COMPOSE, RESIZE, JITTER, TENSOR, COPY = (
    "torchvision.transforms.Compose",
    "torchvision.transforms.Resize",
    "torchvision.transforms.ColorJitter",
    "torchvision.transforms.ToTensor",
    "dwm.datasets.common.Copy",
)
OLD_TO_NEW = {
    "images": "vae_images",
    "3dbox_images": "3dbox_images",
    "hdmap_images": "hdmap_images",
    "image_description": "clip_text",
}
LAYOUTS = {"3dbox_images": "boxes", "hdmap_images": "map"}
SPLITS = {"Train": "train", "Val": "val"}
LAYOUT_PACKAGE = "layouts"
"""The kind of OpenDWM's layout packages, which its own commands alone read."""
STATE_NAMES = {"nuscenes": "nuscenes", "waymo": "waymo", "argoverse": "argoverse", "opendv": "opendv", "layouts": "fs"}

WORDS: dict[str, dict[str, dict[str, str | None]]] = {
    "waymo": {
        "box_colors": {
            "VEHICLE": "vehicle.car",
            "PEDESTRIAN": "human.pedestrian",
            "CYCLIST": "vehicle.bicycle",
            "SIGN": "static_object.sign",
        },
        "map_colors": {"crosswalk": "ped_crossing", "road_edge": "drivable_area", "road_line": "lane"}
        | dict.fromkeys(("driveway", "lane", "speed_bump", "stop_sign")),
    },
}
"""Our names of a set's classes and map features, by kind; None: what has no layer here."""
DEFAULT_BOX_COLORS = {
    "nuscenes": OPENDWM_BOX_COLORS,
    "waymo": {"human.pedestrian": (255, 0, 0), "vehicle.bicycle": (0, 255, 0), "vehicle.car": (0, 0, 255)},
    "argoverse": {
        **dict.fromkeys(
            ("human.pedestrian.adult", "human.pedestrian.cyclist", "human.pedestrian.motorcyclist"), (255, 0, 0)
        ),
        **{name: OPENDWM_BOX_COLORS[name] for name in ("vehicle.bicycle", "vehicle.motorcycle", "vehicle.truck")},
        **dict.fromkeys(("vehicle.bus.rigid", "vehicle.bus.school"), (128, 0, 255)),
        **{name: OPENDWM_BOX_COLORS[name] for name in ("vehicle.car", "vehicle.trailer")},
    },
}
"""What OpenDWM's readers draw where their settings say nothing."""
DEFAULT_PENS = {"argoverse": 10}
"""Line widths in pixels where they are others than ours."""
UNDRAWN = "maps have the layers lane, drivable_area and ped_crossing here; this feature is not drawn"
LISTED = "Waymo's records are read once, for an index of our own; scenes come by name where no list lies beside them"

ALWAYS = "calibration, poses and times are always read"
LIDAR_POSE = "a LiDAR never counts as a camera here"
LIDAR_NAME = "a set has one LiDAR, whatever it is called; that it is named here makes it the clock of the windows"
TYPED = "a batch has named, typed fields: nothing has to be renamed, popped, stacked or ignored"
IDENTITY = "identity poses are what a set without poses has"


@dataclass
class Read:
    """What the sets of one list have in common beside their sources."""

    sources: list[dict[str, Any]] = field(default_factory=list)
    size: tuple[int, int] | None = None
    jitter: tuple[float, float, float] | None = None
    layouts: set[str] = field(default_factory=set)


def read_dataset(section: Section, state: State) -> Read:
    """The sources of `training_dataset` or `validation_dataset`."""
    read = Read()

    def add(part: Section, name: str) -> None:
        read.sources.append(_package(part) if name == PREVIEW else _motion(part, KINDS[name], state))

    walk_sets(section, SETS, lambda transform: read_transform(transform, read), add)
    return read


def walk_sets(
    section: Section, classes: Iterable[str], transform: Callable[[Section], None], add: Callable[[Section, str], None]
) -> None:
    """Hands each set of a tree of adapters and lists to `add`, with its class, and the adapters' lines to `transform`."""
    name = section.class_name((ADAPTER, CONCAT, *classes))
    if name == ADAPTER:
        walk_sets(section.section("base_dataset"), classes, transform, add)
        for line in section.sections("transform_list"):
            transform(line)
        section.ignore(TYPED, "pop_list")
    elif name == CONCAT:
        for part in section.sections("datasets"):
            walk_sets(part, classes, transform, add)
    else:
        add(section, name)
    section.close()


def read_transform(section: Section, read: Read) -> None:
    """One line of a transform list: which pictures, resized to what."""
    old, new = section.take_as(str, "old_key"), section.take_as(str, "new_key")
    if OLD_TO_NEW.get(old) != new:
        names = ", ".join(f"{key} → {value}" for key, value in OLD_TO_NEW.items())
        raise section.fault("old_key", f"{old} → {new} is not known; known: {names}")
    section.ignore(TYPED, "stack")
    transform = section.section("transform")
    if transform.class_name((COMPOSE, COPY)) == COMPOSE:
        for step in transform.sections("transforms"):
            _picture_step(step, read)
    transform.close()
    if old in LAYOUTS:
        read.layouts.add(LAYOUTS[old])
    section.close()


def _picture_step(step: Section, read: Read) -> None:
    name = step.class_name((RESIZE, JITTER, TENSOR))
    if name == RESIZE:
        size = step.take_as(list, "size")
        if len(size) != 2 or not all(type(edge) is int for edge in size):
            raise step.fault("size", f"expected [height, width] in pixels, found {str(size)[:60]}")
        height, width = size
        if read.size is not None and read.size != (width, height):
            raise step.fault(
                "size", f"{width}×{height} differs from {read.size[0]}×{read.size[1]} of the other pictures"
            )
        read.size = (width, height)
    elif name == JITTER:
        read.jitter = tuple(step.take_as((int, float), key, 0.0) for key in ("brightness", "contrast", "saturation"))
    step.close()


def _motion(section: Section, kind: str, state: State) -> dict[str, Any]:
    files = read_files(section.section("fs"), state, STATE_NAMES[kind])
    views = [str(name) for name in section.take_as(list, "sensor_channels", [])]
    cameras = [name for name in views if "lidar" not in name.lower()]
    source: dict[str, Any] = {
        "kind": kind,
        **files.values(),
        "frames": section.take_as(int, "sequence_length"),
        "rates": section.take_as(list, "fps_stride_tuples"),
        "check_times": section.take_as(bool, "enable_synchronization_check", True),
        "lidar_clock": len(cameras) < len(views),
    }
    if cameras:
        source["views"] = cameras
    for index, name in enumerate(views):
        if name not in cameras:
            section.leave_out(f"sensor_channels.{index}", LIDAR_NAME)
    section.ignore(
        ALWAYS, "enable_camera_transforms", "enable_ego_transforms", "enable_pts", "enable_fake_camera_transforms"
    )
    section.ignore(LIDAR_POSE, "hide_lidar")
    if kind == "nuscenes":
        source["version"] = section.take_as(str, "dataset_name")
        source["key_frames_only"] = section.take_as(bool, "keyframe_only", False)
        source["boxes_between"] = False  # OpenDWM draws no boxes there
    split = section.take_as((str, type(None)), "split", None)
    source["split"] = SPLITS.get(split, split)
    _listing(section, kind, source)
    _layout(section, kind, source)
    _captions(section, source)
    _stubs(section, source)
    section.close()
    return source


def _listing(section: Section, kind: str, source: dict[str, Any]) -> None:
    """What says where things lie in sets that have no tables."""
    if kind == "waymo":
        source["index"] = section.take_as(str, "info_dict_path")
        section.ledger.note(f"{section.at('info_dict_path')}: {LISTED}")
    if kind == "opendv":
        source["index"] = section.take_as(str, "meta_path")
        source["clips_as_views"] = section.take_as((int, type(None)), "mini_batch", None)
        source["order_seed"] = section.take_as((int, type(None)), "shuffle_seed", 42)
        count = source["clips_as_views"]
        source["views"] = ["CAM_FRONT"] if count is None else [f"clip_{number}" for number in range(count)]
        source["left_out"] = [str(name) for name in section.take_as(list, "ignore_list", [])]


def _layout(section: Section, kind: str, source: dict[str, Any]) -> None:
    layout: dict[str, Any] = {"mode": "exact"}
    for key, field_name in (("_3dbox_image_settings", "box_colors"), ("hdmap_image_settings", "map_colors")):
        settings = section.maybe(key)
        if settings is None:
            continue
        if (colors := settings.take("color_table", None)) is not None:
            layout[field_name] = _colors(settings, colors, WORDS.get(kind, {}).get(field_name))
        elif field_name == "box_colors" and kind in DEFAULT_BOX_COLORS:
            layout[field_name] = dict(DEFAULT_BOX_COLORS[kind])
        if (width := settings.take("pen_width", DEFAULT_PENS.get(kind))) is not None:
            layout["pen_width"] = width
        if key == "hdmap_image_settings" and (far := settings.take("max_distance", None)) is not None:
            layout["map_distance"] = far
        settings.close()
    source["layout"] = layout
    made_up = {bool(section.take(key, False)) for key in ("enable_fake_3dbox_images", "enable_fake_hdmap_images")}
    color = section.take("fake_condition_image_color", [0])
    if len(made_up) > 1:
        raise section.fault("enable_fake_hdmap_images", "boxes and map are made up together, or neither is")
    if True in made_up:
        source["made_up_layout"] = (color[0] if isinstance(color, list) else color) / 255


def _colors(settings: Section, colors: Any, words: dict[str, str | None] | None) -> Any:
    """A table of colours in our names; `words` None: the names are ours already."""
    if words is None or not isinstance(colors, dict):
        return colors
    for name in colors:
        if name not in words:
            raise settings.fault(f"color_table.{name}", f"is no name of this data set{nearest(name, words)}")
        if words[name] is None:
            settings.leave_out(f"color_table.{name}", UNDRAWN)
    return {words[name]: color for name, color in colors.items() if words[name] is not None}


def _captions(section: Section, source: dict[str, Any]) -> None:
    settings = section.maybe("image_description_settings")
    if settings is None:
        return
    path = settings.take_as(str, "path")
    times = [settings.take(key, None) for key in ("time_list_dict_path", "candidates_times_path")]
    source["captions"] = [path, next((name for name in times if name), "")]
    words: dict[str, Any] = {"reorder": bool(settings.take("reorder_keys", False))}
    for key in ("align_keys", "selected_keys", "drop_rates", "seed"):
        if (value := settings.take(key, None)) is not None:
            words[key] = value
    for key in words.get("drop_rates", {}):
        if key not in CAPTION_KEYS:
            raise settings.fault(f"drop_rates.{key}", f"is no part of a caption{nearest(key, CAPTION_KEYS)}")
    source["words"] = words
    settings.close()


def _stubs(section: Section, source: dict[str, Any]) -> None:
    stubs = section.maybe("stub_key_data_dict")
    if stubs is None:
        return
    mask = stubs.take("crossview_mask", None)
    if mask is not None:
        source["crossview_mask"] = matrix(mask, stubs, "crossview_mask")
    stubs.ignore(IDENTITY, "ego_transforms", "pts")
    if (flag := stubs.take("is_uncalibrated", None)) is not None:
        source["uncalibrated"] = _flag(flag, stubs)
    stubs.close()


def _flag(stub: Any, section: Section) -> bool:
    """`["content", torch.tensor(true)]`"""
    if not (isinstance(stub, list) and len(stub) == 2 and stub[0] == "content"):
        raise section.fault("is_uncalibrated", 'expected ["content", …]')
    inner = Section(stub[1], section.at("is_uncalibrated") + ".1", section.ledger)
    inner.class_name(("torch.tensor",))
    value = inner.take_as(bool, "data")
    _boolean(inner)
    inner.close()
    return value


def matrix(stub: Any, section: Section, key: str) -> list[list[bool]]:
    """A mask that is written as `["content", torch.tensor(json.loads(…))]` or `["content", torch.eye(n)]`."""
    if not (isinstance(stub, list) and len(stub) == 2 and stub[0] == "content"):
        raise section.fault(key, 'expected ["content", …]')
    inner = Section(stub[1], section.at(key) + ".1", section.ledger)
    if inner.class_name(("torch.tensor", "torch.eye")) == "torch.eye":
        count = inner.take_as(int, "n")
        rows = [[row == column for column in range(count)] for row in range(count)]
    else:
        data = inner.section("data")
        data.class_name(("json.loads",))
        rows = _rows(data)
    _boolean(inner)
    inner.close()
    return rows


def _rows(data: Section) -> list[list[bool]]:
    text = data.take_as(str, "s")
    try:
        rows = [[bool(value) for value in row] for row in json.loads(text)]
    except (ValueError, TypeError, RecursionError):
        raise data.fault("s", f"{text[:60]!r} is not a matrix in JSON") from None
    if any(len(row) != len(rows) for row in rows):
        raise data.fault("s", f"a mask of views is square, found rows of {sorted({len(row) for row in rows})}")
    data.close()
    return rows


def _boolean(section: Section) -> None:
    dtype = section.maybe("dtype")
    if dtype is not None:
        dtype.class_name(("get_class",))
        if dtype.take("class_name") != "torch.bool":
            raise dtype.fault("class_name", "a mask is of torch.bool")
        dtype.close()


def _package(section: Section) -> dict[str, Any]:
    """A folder of pictures with a `data.json`."""
    source: dict[str, Any] = {
        "kind": LAYOUT_PACKAGE,
        "path": section.take_as(str, "json_file"),
        "frames": section.take_as(int, "sequence_length"),
        "rates": section.take_as(list, "fps_stride_tuples"),
        "views": [str(name) for name in section.take_as(list, "sensor_channels")],
        "check_times": False,
        "lidar_clock": False,
        "drop_vehicle_colors": section.take_as(bool, "drop_vehicle_color", False),
        "layout": {"mode": "exact"},
    }
    section.ignore(ALWAYS, "enable_camera_transforms")
    for key in ("use_3dbox", "use_hdmap"):
        if not section.take_as(bool, key, True):
            raise section.fault(key, "false: a package without this layout cannot be told yet; set conditions instead")
    _stubs(section, source)
    section.close()
    return source
