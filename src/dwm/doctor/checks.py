"""Looks at the machine, the packages, the video codec, the weights, the base model and the data set; changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from packaging.requirements import Requirement

from dwm.base_models.known_folders import KNOWN
from dwm.devices import describe, memory, pick_device
from dwm.errors import DwmError

MEMORY_NEEDED = 3e9
DISK_NEEDED = 2e9


class State(str, Enum):
    """absent: not there, and only needed for some work."""

    good = "good"
    absent = "absent"
    fault = "fault"


@dataclass(frozen=True)
class Check:
    """One line of the table. fix is what to type or do; empty where nothing is wrong."""

    name: str
    state: State
    found: str
    fix: str = ""


def check_environment(data: Path, base_model: Path, weights: str = "town") -> list[Check]:
    """Every check, in the order in which a newcomer would mend them."""
    checks: tuple[Callable[[], Iterator[Check]], ...] = (
        _python,
        _packages,
        _devices,
        _memory,
        _disk,
        _codec,
        lambda: _weights(weights),
        lambda: _base_model(base_model),
        lambda: _data(data),
    )
    return [one for check in checks for one in check()]


def _python() -> Iterator[Check]:
    version = platform.python_version()
    good = tuple(map(int, platform.python_version_tuple()[:2])) >= (3, 10)
    yield Check("python", State.good if good else State.fault, version, "" if good else "install Python 3.10 or newer")


def _packages() -> Iterator[Check]:
    """What the package asks for against what is installed."""
    wrong: list[Check] = []
    right = 0
    for text in metadata.requires("dwm") or []:
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            wrong.append(
                Check(needed.name, State.fault, "not installed", f"pip install '{needed.name}{needed.specifier}'")
            )
            continue
        if needed.specifier.contains(version, prereleases=True):
            right += 1
        else:
            fix = f"pip install '{needed.name}{needed.specifier}'"
            wrong.append(Check(needed.name, State.fault, f"{version}, needed {needed.specifier}", fix))
    main = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "diffusers", "transformers"))
    yield Check("packages", State.good, f"{right} as needed ({main})")
    yield from wrong


def _devices() -> Iterator[Check]:
    host = torch.device("cpu")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Check(
        "processor", State.good, f"{describe(host)}; {usable} usable, {torch.get_num_threads()} PyTorch threads"
    )
    device = pick_device("auto")
    other = device.type != "cpu"
    description = describe(device) if other else "none: the processor computes"
    yield Check("accelerator", State.good if other else State.absent, description)


def _memory() -> Iterator[Check]:
    now = memory(torch.device("cpu"))
    enough = now.free >= MEMORY_NEEDED
    fix = "" if enough else f"the demo needs {MEMORY_NEEDED / 1e9:.0f} GB: end other programs"
    yield Check(
        "memory", State.good if enough else State.fault, f"{now.free / 1e9:.1f} of {now.total / 1e9:.1f} GB free", fix
    )


def _disk() -> Iterator[Check]:
    free = shutil.disk_usage(Path.cwd()).free
    enough = free >= DISK_NEEDED
    fix = "" if enough else f"free {DISK_NEEDED / 1e9:.0f} GB, or work in another folder"
    yield Check("disk", State.good if enough else State.fault, f"{free / 1e9:.1f} GB free in {Path.cwd()}", fix)


def _codec() -> Iterator[Check]:
    """Writes and reads a second of video."""
    from dwm.report import Film, read_film
    from dwm.report.film import CODECS

    frames = np.zeros((4, 32, 48, 3), np.uint8)
    frames[:, :, :24] = 200
    try:
        with tempfile.TemporaryDirectory() as folder:
            again = read_film(Film(frames, 4).save(Path(folder) / "test.mp4"))
        off = int(np.abs(again.frames.astype(int) - frames).max())
        good = len(again.frames) == 4 and off <= 24
        check = Check("video", State.good if good else State.fault, f"written and read again, off by {off} of 255")
    except (DwmError, OSError) as error:
        good, check = False, Check("video", State.fault, str(error))
    names = ", ".join(name for name, _ in CODECS)
    yield check if good else replace(check, fix=f"pip install --force-reinstall av (needs one of {names})")


def _weights(name: str) -> Iterator[Check]:
    from safetensors import safe_open

    from dwm.checkpoints.folder import read_card
    from dwm.checkpoints.locations import FAST, NETWORK, resolve
    from dwm.checkpoints.tensor_files import weight_files
    from dwm.storage import regular

    try:
        folder = resolve(name)
        card = read_card(folder)
        counts = []
        for network in (NETWORK, *(() if card.fast is None else (FAST,))):
            counts.append(0)
            for part in weight_files(folder / network):
                with safe_open(regular(part), "pt") as file:
                    counts[-1] += sum(int(np.prod(file.get_slice(key).get_shape())) for key in file.keys())  # noqa: SIM118
    except Exception as error:  # whatever is wrong with a file is what this check is for
        fix = "install the package again" if name == "town" else "write the folder again with save_pretrained"
        yield Check("weights", State.fault, str(error).splitlines()[0], fix)
        return
    sizes = ", ".join(f"{width}x{height}" for width, height in card.sizes)
    also = "" if card.fast is None else f", and a network for {card.fast.num_inference_steps} steps"
    summary = f"{name}: {counts[0] / 1e6:.1f} M parameters, {sizes}, up to {card.window} frames{also}"
    yield Check("weights", State.good, summary)


def _base_model(folder: Path) -> Iterator[Check]:
    parts = (
        "scheduler",
        "vae",
        "text_encoder",
        "text_encoder_2",
        "text_encoder_3",
        "tokenizer",
        "tokenizer_2",
        "tokenizer_3",
    )
    source = KNOWN.get(folder.name, "its publisher")
    if not folder.is_dir():
        yield Check(
            "base model", State.absent, f"{folder} is not there", f"to use published weights, fetch {source} into it"
        )
        return
    missing = [name for name in parts if not (folder / name).is_dir()]
    if missing and not (folder / "unet").is_dir():
        yield Check("base model", State.fault, f"{folder} lacks {', '.join(missing)}", f"fetch the rest from {source}")
        return
    yield Check("base model", State.good, str(folder))


def _data(path: Path) -> Iterator[Check]:
    from dwm.data.open import open_scene_tables

    if not path.exists():
        yield Check("data", State.absent, f"{path} is not there", f"dwm town -o {path}, or put nuScenes' zips there")
        return
    try:
        source = open_scene_tables(path)
        yield Check("data", State.good, f"{path}: {source.title}")
    except DwmError as error:
        yield Check("data", State.fault, str(error), f"fetch it again, or build one: dwm town -o {path}")
