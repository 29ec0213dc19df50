"""Where the files of published configs lie: paths of their authors' machines, and the places that the Ascend port has for them.

The port's folder holds `data/nuscenes`, `base_model` and `pretrained`. Opens nothing, but looks whether a path is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from posixpath import basename, commonpath, dirname, relpath
from typing import Any, TypeVar

from dwm.config import Recipe
from dwm.config.data import SourceOptions
from dwm.config.lidar import LidarRecipe, TokenGenerator
from dwm.errors import DwmError
from dwm.runs.fetch import Needed, needed_data, needed_networks

PRIVATE = re.compile(r"/(cache|mnt)/|THUDM/|\{")
"""Beginnings of paths that only the authors' machines have; a name on a hub, and words in braces, are no path at all."""
PRIVATE_SERVICE = "aoss-internal"
"""Part of the addresses of the authors' S3 services."""
SomeRun = TypeVar("SomeRun", Recipe, LidarRecipe)
FILES = ("base_model", "autoencoder_folder", "autoencoder_weights", "weights")
"""Settings of a run that name files of networks."""
NUSCENES = "https://www.nuscenes.org/nuscenes#download"
OPENDWM_DATA = "https://huggingface.co/datasets/wzhgba/opendwm-data"
ARCHIVE = r"[^/]+\.(?:zip|tar)"
PORT_PATHS = tuple(
    (re.compile(pattern), location)
    for pattern, location in (
        (r"((?:nuScenes-map-expansion|interp_12Hz_|v1\.0-)[^/]*\.zip)$", r"data/nuscenes/\1"),
        (r"(?:^|/)(nuscenes_[^/]*_caption_v2_[^/]*\.json)$", r"data/nuscenes/\1"),
        (r"(?:^|/)data/nuscenes$", "data/nuscenes"),
        (r"/waymo[^/]*/(training|validation)((?:\.info\.json)?)$", r"data/waymo/\1\2"),
        (r"(?:^|/)(waymo_caption[^/]*\.json)$", r"data/waymo/\1"),
        (rf"/argoverse/.*?({ARCHIVE})$", r"data/argoverse/\1"),
        (r"(?:^|/)(av2_[^/]*caption[^/]*\.json)$", r"data/argoverse/\1"),
        (rf"/kitti360/.*?({ARCHIVE})$", r"data/kitti360/\1"),
        (rf"/opendv/({ARCHIVE})$", r"data/opendv/\1"),
        (r"(?i)/((?:opendv)[^/]*?(?:\.json)?)$", r"data/opendv/\1"),
        (r"(?:^|[/ ])((?:stable-diffusion|CogVideoX)-[^/ ]+(?:/[^ ]+)?)(?:$| )", r"base_model/\1"),
        (r"/[Tt]asks/([^/]+)/checkpoints/(\d+)000\.pth$", r"pretrained/\1_\2k.pth"),
        (r"/([^/]+\.(?:pth|pkl|safetensors))$", r"pretrained/\1"),
        (r"[/ ]([^/ ]+_package/[^/]+\.json)\}?$", r"data/\1"),
    )
)
"""What a path ends with → its place in the port's folder; the first that fits."""


def is_private(path: str) -> bool:
    """Whether a path is one of the authors' machines, and not there on this one."""
    return bool(PRIVATE.match(path)) and not Path(path).exists()


def port_path(path: str) -> str | None:
    """Where the port has such a file, from its folder; None for what it knows nothing of."""
    return next((match.expand(location) for pattern, location in PORT_PATHS if (match := pattern.search(path))), None)


def _fetch(path: str) -> str | None:
    """How a file of the port's nuScenes folder is come by; None for other files."""
    location, name = port_path(path), basename(path)
    if location != f"data/nuscenes/{name}":
        return None
    packed = next((file for end in (".tgz", ".tar.gz") if (file := Path(path).with_suffix(end)).exists()), None)
    if packed is not None:
        return f"{packed.name} lies beside: python src/dwm/tools/tar2zip.py -i {packed} -o {path}"
    if name.startswith(("interp_", "nuscenes_")):
        return f"fetch it from {OPENDWM_DATA} and put it there"
    return f"fetch it from {NUSCENES} (a .tgz becomes a .zip by src/dwm/tools/tar2zip.py) and put it there"


def with_root(run: SomeRun, root: Path) -> SomeRun:
    """The run with its files below `root`: private paths at the port's places, relative ones as they are.

    Absolute paths of one's own, URLs, and private paths that the port has no place for stay (`check_paths` names those).
    """

    def at(path: str | None) -> str | None:
        return None if path is None else below(path)

    def below(path: str) -> str:
        if "://" in path or (Path(path).is_absolute() and not is_private(path)):
            return path
        location = port_path(path) if is_private(path) else path
        return path if location is None else str(root / location)

    def moved(part: SourceOptions) -> SourceOptions:
        captions = part.captions and tuple(at(name) or "" if name else "" for name in part.captions)
        part = part.with_(captions=captions, index=at(part.index))
        private = PRIVATE_SERVICE in (part.endpoint or "")
        if part.path is None or (part.endpoint and not private):
            return part
        start = f"/mnt/{part.path}" if private else part.path
        if not part.archives:
            return part.with_(path=at(start), endpoint=None)
        whole = [below(f"{start}/{name}") for name in part.archives]
        folder = commonpath([dirname(path) for path in whole])
        return part.with_(path=folder, archives=tuple(relpath(path, folder) for path in whole), endpoint=None)

    sets = {group: tuple(moved(part) for part in getattr(run.data, group)) for group in ("train", "validation")}
    files: dict[str, Any] = {
        key: at(value) if (value := getattr(run, key)) != "town" else value for key in FILES if hasattr(run, key)
    }
    if isinstance(run, LidarRecipe) and isinstance(run.generator, TokenGenerator):
        files["generator"] = run.generator.with_(blank_codes=at(run.generator.blank_codes))
    return run.with_(data=run.data.with_(**sets), **files)


def check_paths(
    run: Recipe | LidarRecipe, values: Mapping[str, Any], source: str, train: bool = True, networks: bool = True
) -> None:
    """Raises DwmError for the first private path that a run would open, with the key of the file to set and the port's place;
    and for a file of the port's nuScenes folder that is missing, with where it is to be had.

    `values` is the file's own content. `train`: whether its training sets are read; `networks`: whether its weights are.
    """
    for needed in (*needed_data(run, train=train), *(needed_networks(run) if networks else ())):
        if is_private(needed.path):
            raise DwmError(f"{source}: {_line(needed, values)}")
        if "://" not in needed.path and not Path(needed.path).exists() and (how := _fetch(needed.path)):
            raise DwmError(f"{source}: the {needed.what} {needed.path} is not here (seen from {Path.cwd()}); {how}")


def _line(needed: Needed, values: Mapping[str, Any]) -> str:
    location = port_path(needed.path)
    key, value = _entry(needed, values)
    where = f"the port has it at {location}: " if location else ""
    put = "set the key to where yours lies"
    if location:
        put += f", or put it at DIR/{location} and give --root DIR, which does so for all paths of this file"
    return f"{key} is {value}, which is not on this machine ({needed.what} {basename(needed.path)}); {where}{put}"


def _entry(needed: Needed, values: Mapping[str, Any]) -> tuple[str, str]:
    """The key of the file that names a path, or the folder that it lies in, and what stands there; else our setting."""
    texts = [(key, value) for key, value in _texts(values) if needed.path.startswith(value) and PRIVATE.match(value)]
    return max(texts, key=lambda pair: len(pair[1]), default=(needed.key, needed.path))


def _texts(values: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(values, str):
        yield path, values
    elif isinstance(values, Mapping | list):
        items = values.items() if isinstance(values, Mapping) else enumerate(values)
        for key, value in items:
            yield from _texts(value, f"{path}.{key}" if path else str(key))
