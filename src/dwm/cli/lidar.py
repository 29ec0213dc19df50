"""The flags of `dwm generate -c` and `dwm evaluate -c` laid over a LiDAR run. Generates nothing itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwm.errors import DwmError

if TYPE_CHECKING:
    from dwm.config.lidar import LidarRecipe

PLACES = {
    "clips": ("scores.clips",),
    "frames": ("data.validation.0.frames",),
    "steps": ("generator.sampling.steps",),
    "guidance": ("generator.sampling.guidance",),
    "references": ("sampling.known",),
    "seed": ("scores.seed",),
    "device": ("device",),
    "dtype": ("autocast",),
}
"""Flags → settings of a LiDAR run."""
OTHERS = ("data", "weights", "split", "force")


def with_flags(run: LidarRecipe, flags: Mapping[str, Any], source: str) -> LidarRecipe:
    """The run with the flags that were given. Raises DwmError for a flag that such a run has no place for."""
    from dwm.config.lidar import AUTOENCODER, GENERATOR
    from dwm.config.lidar_files import resolve_lidar
    from dwm.config.own_data import lidar_with_data

    given = {key: value for key, value in flags.items() if value not in (None, ())}
    overrides = []
    for flag, value in given.items():
        if flag in OTHERS:
            continue
        if flag not in PLACES or (flag in ("steps", "guidance") and run.generator is None):
            known = ", ".join(f"--{name}" for name in ("data", "weights", *PLACES))
            raise DwmError(f"--{flag}: {source} is a LiDAR run, which has no place for it; it takes {known}")
        text = value if isinstance(value, str) else json.dumps(value)
        overrides += [f"{key}={text}" for key in PLACES[flag]]
    if given.get("split") is not None:
        overrides.append(f"data.validation.0.split={given['split']}")
    run = resolve_lidar(run, overrides)
    if (data := given.get("data")) is not None:
        run = lidar_with_data(run, data)
    if (weights := given.get("weights")) is not None:
        where = Path(weights)
        both = {AUTOENCODER: "autoencoder_weights", GENERATOR: "weights"}
        if run.generator is None:
            run = run.with_(autoencoder_weights=str(where))
        elif where.is_dir():
            present = {key: str(where) for name, key in both.items() if (where / f"{name}.safetensors").is_file()}
            run = run.with_(**(present or {"weights": str(where)}))
        else:
            run = run.with_(weights=str(where))
    return run
