"""Fetches the published files that feature networks need, each from the one address in their table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from dwm.base_models.known_folders import KNOWN
from dwm.errors import DwmError, nearest
from dwm.evaluation.networks.efficientnet import EfficientNetLite0
from dwm.evaluation.networks.files import FILES, find, load_file
from dwm.evaluation.networks.i3d import I3D
from dwm.evaluation.networks.inception import Inception
from dwm.storage.download import download

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "inception": Inception,
    "i3d": I3D,
    "efficientnet": EfficientNetLite0,
}


def fetch_features(name: str, folder: Path) -> Path:
    """The file's path in `folder`, downloaded where it is not there yet, and loaded once as a check.

    Raises DwmError for an unknown name, and for everything that goes wrong on the way.
    """
    if name not in FILES:
        where = f"; base models come from their publisher: {KNOWN[name]}" if name in KNOWN else nearest(name, FILES)
        raise DwmError(f"fetch: {name} is not known{where}; known: {', '.join(FILES)}")
    file = FILES[name]

    def check(path: Path) -> None:
        load_file(NETWORKS[name](), path, file)

    if file.url is None:
        path = find(name, folder)
        check(path)
        return path
    path = folder / file.names[0]
    if path.is_file():
        check(path)
        return path
    return download(file.url, path, file.most, file.size, file.sha256, check)
