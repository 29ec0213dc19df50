"""OpenDWM's JSON configs → our typed runs, by explicit tables: every key is translated, or left out with its reason.

No class is imported by a name in a file; a name or key that the tables lack is an error that says what is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwm.errors import DwmError
from dwm.opendwm.config.data import ADAPTER, CONCAT, SETS, Read, read_dataset
from dwm.opendwm.config.files import FILE_SYSTEMS, Files, State, read_files
from dwm.opendwm.config.lidar import read_lidar
from dwm.opendwm.config.names import LIDAR_PIPELINES
from dwm.opendwm.config.pipeline import CTSD, STREAMING, read_pipeline
from dwm.opendwm.config.reader import CLASS, Ignored, Ledger, Section
from dwm.opendwm.config.stream import read_stream
from dwm.opendwm.config.unimlvg import UNIMLVG, read_unimlvg

VIDEO_PIPELINES = (CTSD, STREAMING, UNIMLVG)
OPTIMIZERS = {
    "torch.optim.AdamW": 0.01,
    "mindspeed.optimizer.adamw.AdamW": 0.01,
    "bitsandbytes.optim.AdamW8bit": 0.01,
    "bitsandbytes.optim.Adam8bit": 0.0,
}
"""Kinds of AdamW, with their weight decay where the file says none."""
MESH = "torch.distributed.device_mesh.init_device_mesh"
CARLA_SETTINGS = ({"world_settings", "actor_configs"}, {"total_steps", "actor_configs"})

PROCESSES = "processes and devices are given to the command that starts a run"
LOADER = "batches are prepared ahead in the order that training asks for; nothing has to be chosen"
RESULTS = "published results of the run, not settings"
PICTURES = "pictures come as numbers between 0 and 1 and are written as files"
TIMES = "the times of the frames follow from fps"
ONE_BY_ONE = "previews and scores take one clip after another"
INPUT_KEYS = ("fps", "camera_transforms", "camera_intrinsics", "image_size", "crossview_mask", "clip_text")
UNBOUNDED = 10**9
"""Steps of a run that ends after so many passes over the data."""
OUTPUT = "given on the command line (--output)"


@dataclass(frozen=True)
class Translation:
    """What became of a file. kind: video, lidar, files; values: the run in our terms; inputs: an example's batches."""

    kind: str
    values: dict[str, Any]
    ignored: tuple[Ignored, ...]
    notes: tuple[str, ...]
    inputs: tuple[dict[str, Any], ...] = ()


def is_upstream(values: Any) -> bool:
    """Whether a JSON file is OpenDWM's: it names classes, or holds the settings of its simulator scripts."""
    if not isinstance(values, Mapping):
        return False
    sections = [value for value in values.values() if isinstance(value, Mapping)]
    return CLASS in values or any(CLASS in section for section in sections) or bool(simulator_settings(values))


def names_lidar(values: Mapping[str, Any]) -> bool:
    """Whether a file of OpenDWM's is a LiDAR run."""
    pipeline = values.get("pipeline")
    return isinstance(pipeline, Mapping) and pipeline.get(CLASS) in tuple(LIDAR_PIPELINES)


def simulator_settings(values: Mapping[str, Any]) -> str | None:
    """The simulator script whose settings these are, or None."""
    if any(keys <= set(values) for keys in CARLA_SETTINGS):
        return "carla_simulation.py"
    cameras = [value for value in values.values() if isinstance(value, Mapping)]
    if (
        cameras
        and len(cameras) == len(values)
        and all({"image_size", "intrinsic", "transform"} <= set(c) for c in cameras)
    ):
        return "make_carla_cameras.py"
    return None


def translate(values: Mapping[str, Any], source: str) -> Translation:
    """Raises DwmError, naming `source` and the path, for whatever the tables do not know."""
    if script := simulator_settings(values):
        raise DwmError(
            f"{source}: these are the settings of OpenDWM's {script}, a simulator script; nothing here runs it"
        )
    ledger = Ledger(source)
    top = Section(values, "", ledger)
    if CLASS in values:
        return _finished("files", _file_system(top), ledger)
    pipeline = top.section("pipeline")
    name = pipeline.class_name((*VIDEO_PIPELINES, *LIDAR_PIPELINES))
    if name in LIDAR_PIPELINES:
        return _finished("lidar", read_lidar(top, name), ledger)
    recipe, inputs = _video(top, pipeline, name)
    return _finished("video", recipe, ledger, inputs)


def _finished(
    kind: str, values: dict[str, Any], ledger: Ledger, inputs: tuple[dict[str, Any], ...] = ()
) -> Translation:
    unique = tuple(dict.fromkeys(ledger.ignored))
    return Translation(kind, values, unique, tuple(ledger.notes), inputs)


def _file_system(top: Section) -> dict[str, Any]:
    top.class_name(FILE_SYSTEMS)
    files: Files = read_files(top, State(), "")
    return {"verb": "files", **files.values()}


def _video(top: Section, pipeline: Section, name: str) -> tuple[dict[str, Any], tuple[dict[str, Any], ...]]:
    state = State(dict(top.take_as(dict, "global_state", {})))
    recipe = read_unimlvg(pipeline) if name == UNIMLVG else read_pipeline(pipeline)
    recipe |= {"verb": "train", "name": Path(top.ledger.source).stem, "compatibility": "reference"}
    recipe["device"] = _device(top)
    _loop(top, recipe["training"])
    _data(top, state, recipe)
    if name == STREAMING:
        recipe["stream"] |= read_stream(top, state, recipe)
    inputs = _inputs(top)
    _global_state(top, state)
    top.ignore(PROCESSES, "ddp_backend")
    top.ignore(RESULTS, "informations")
    top.ignore(OUTPUT, "output_path")
    top.close()
    return recipe, inputs


MAPPED = ("nuscenes", "waymo", "argoverse")
"""Sets whose maps OpenDWM reads."""


def _device(top: Section) -> str:
    """OpenDWM's files all say cuda, on other accelerators too: its port turns the word round."""
    device = top.take_as(str, "device", "auto")
    if device != "cuda":
        return device
    top.ledger.note("device cuda is read as auto: CUDA where it is, else an NPU, else the processor")
    return "auto"


def _inputs(top: Section) -> tuple[dict[str, Any], ...]:
    """What an example generates, as it stands; `dwm.opendwm.commands.example_runs` reads the parts that are told."""
    for item in top.sections("inputs", []):
        item.take("latent_shape")
        item.ignore(PICTURES, "output_type")
        batch = item.section("batch")
        for key in INPUT_KEYS:
            batch.take(key, None)
        batch.ignore(TIMES, "pts")
        batch.close()
        item.close()
    return tuple(top.take("inputs", []))


def _loop(top: Section, training: dict[str, Any]) -> None:
    """Seed, optimizer, epochs and batch size."""
    training["seed"] = top.take_as(int, "generator_seed", 0)
    training["epochs"] = top.take("train_epochs", None)
    if training["epochs"] is not None:
        training["steps"] = UNBOUNDED
    optimizer = top.maybe("optimizer")
    if optimizer is not None:
        training["optimizer"] = read_optimizer(optimizer)
    if top.take("lr_scheduler", None) is not None:
        raise top.fault("lr_scheduler", "only a constant rate is known for video runs")


def read_optimizer(optimizer: Section) -> dict[str, Any]:
    """AdamW's settings; what is left out has the class's own default."""
    name = optimizer.class_name(OPTIMIZERS)
    if name.endswith("8bit"):
        optimizer.ledger.note(f"{name} is read as AdamW with whole numbers: 8 bytes of state a parameter instead of 2")
    settings = {"lr": optimizer.take_as(float, "lr", 1e-3), "betas": optimizer.take("betas", [0.9, 0.999])}
    settings["eps"] = optimizer.take_as(float, "eps", 1e-8)
    settings["weight_decay"] = optimizer.take_as((int, float), "weight_decay", OPTIMIZERS[name])
    optimizer.close()
    return settings


def _data(top: Section, state: State, recipe: dict[str, Any]) -> None:
    train = _sets(top, "training_dataset", state)
    held_out = _sets(top, "validation_dataset", state)
    first = train if train.sources else held_out
    data: dict[str, Any] = {"train": train.sources, "validation": held_out.sources, "color_jitter": train.jitter}
    layouts = train.layouts | held_out.layouts
    if layouts and recipe["conditions"]["boxes"]:
        # A network with an adapter is told the layouts that its data sets hand on.
        recipe["conditions"] |= {name: name in layouts for name in ("boxes", "map")}
    if not recipe["conditions"]["map"]:  # who tells nothing of the map need not have it
        for source in (*train.sources, *held_out.sources):
            source |= {"maps": False} if source["kind"] in MAPPED else {}
    if first.size is not None:
        data["size"] = first.size
    data["shuffle"] = top.take_as(bool, "data_shuffle", True)
    data["fixed_order"] = top.take_as(bool, "fix_training_data_order", False)
    batch = _loaders(top, data)
    frames = first.sources[0]["frames"] if first.sources else 1
    recipe["training"]["batch"] = {"clips": batch, "frames": frames}
    data["mix"] = _mix(top)
    if not first.sources:
        data |= {"train": [], "validation": []}
    recipe["data"] = data


def _sets(top: Section, key: str, state: State) -> Read:
    section = top.maybe(key)
    if section is None:
        return Read()
    section.class_name((ADAPTER, CONCAT, *SETS))
    return read_dataset(section, state)


def _loaders(top: Section, data: dict[str, Any]) -> int:
    """Clips in a micro-batch and the number of workers; the rest of a loader's settings has no counterpart."""
    batch = 1
    for key in ("training_dataloader", "validation_dataloader", "preview_dataloader"):
        loader = top.maybe(key)
        if loader is None:
            continue
        if key == "training_dataloader":
            batch, data["workers"] = loader.take_as(int, "batch_size", 1), loader.take_as(int, "num_workers", 0)
        else:
            loader.ignore(ONE_BY_ONE, "batch_size", "num_workers")
        loader.ignore(
            LOADER, "collate_fn", "prefetch_factor", "persistent_workers", "shuffle", "drop_last", "pin_memory"
        )
        loader.close()
    return batch


def _mix(top: Section) -> list[dict[str, Any]]:
    entries = top.take("mix_config", None)
    mix: list[dict[str, Any]] = []
    for name, entry in (entries or {}).items():
        try:
            height, width = map(int, name.split("-"))
            share, kinds = entry
            for frames, clips, part in kinds:
                mix.append({"size": [width, height], "share": share * part, "frames": frames, "clips": clips})
        except (TypeError, ValueError):
            raise top.fault(
                f"mix_config.{name}", "expected HEIGHT-WIDTH: [share, [[frames, clips, share], …]]"
            ) from None
    return mix


def _global_state(top: Section, state: State) -> None:
    """Entries that nothing asked for: the mesh of devices is left out, anything else would be a fault."""
    if not state.entries:
        return
    section = top.section("global_state")
    for name in state.entries:
        if name in state.used:
            continue
        entry = section.section(name)
        kind = entry.class_name((MESH, *FILE_SYSTEMS, "carla.Client"))
        reason = PROCESSES if kind == MESH else "no data set of this file reads it"
        top.ledger.ignored.append(Ignored(f"global_state.{name}", reason))
