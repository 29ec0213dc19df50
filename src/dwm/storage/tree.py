"""One name space over folders and archives: `open_tree`. Names use `/`, from the root of the tree. Never writes or parses."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.compute as pc

from dwm.errors import DwmError, nearest
from dwm.storage import limits
from dwm.storage.archive import SUFFIXES, Archive
from dwm.storage.cache import cache_folder, kept_tables
from dwm.storage.folder import Folder, RemoteFolder, missing
from dwm.storage.source import LocalSource, RemoteSource, check_url

PACKED = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
COMPARED_ANEW = 5000
"""Members of archives together up to which they are compared at every start."""
SHOWN = 2
"""Trees that are named where several are spoken of."""
OVERLAP = pa.schema({"later": pa.string(), "earlier": pa.string(), "count": pa.int64(), "example": pa.string()})


@runtime_checkable
class Tree(Protocol):
    """Files by name, read only; picklable, and safe to share over fork."""

    @property
    def where(self) -> str:
        """What the user knows it by, for messages."""
        ...

    @property
    def beside(self) -> str | Path:
        """The folder, or URL, that it lies in: what is computed from it is kept there, or in the user's cache under its name."""
        ...

    def exists(self, name: str) -> bool: ...

    def read(self, name: str, most: int = limits.FILE) -> bytes:
        """The whole file. Raises DwmError where it is missing or damaged, or (before it is read) has more than `most` bytes."""
        ...

    def open(self, name: str) -> io.BufferedIOBase:
        """The file as a seekable stream, for what is too large to read at once."""
        ...

    def names(self, prefix: str = "") -> Iterator[str]:
        """The names that begin with `prefix`, sorted."""
        ...

    def folders(self, within: str = "") -> set[str]:
        """The names of the folders in the root, or `within` one ("a/b/"); quick where `names` would walk through everything."""
        ...

    def stamp(self, name: str) -> str:
        """Changes when the file does, or, of a folder ("a/b/"), when files come into it or leave it; empty where it is missing."""
        ...

    def size(self, name: str) -> int:
        """Its bytes. Raises DwmError where it is missing."""
        ...


def open_tree(path: str | Path | Sequence[str | Path], endpoint: str | None = None) -> Tree:
    """A folder, an archive (zip or plain tar), a folder of archives, or several of these as one tree; paths or URLs.

    Of equal names the later part wins, with a warning where both are archives; what lies unpacked in a folder wins over the
    archives beside it. `endpoint` is the address of an S3 service other than Amazon's (None: $AWS_ENDPOINT_URL).
    """
    if not isinstance(path, str | Path):
        return union([open_tree(part, endpoint) for part in path])
    if isinstance(path, str) and "://" in path:
        return _open_remote(path, endpoint)
    path = Path(path)
    if path.is_dir():
        archives = sorted(child for child in path.iterdir() if child.suffix in SUFFIXES and child.is_file())
        warn_of_packed(path)
        return union([*(Archive(LocalSource(child)) for child in archives), Folder(path)], str(path))
    require(path)
    return Archive(LocalSource(path))


def require(path: str | Path) -> None:
    """Raises DwmError, naming the nearest one, where a path of this machine is not there. A URL is not looked at."""
    if "://" in str(path):
        return
    path = Path(path)
    if not path.exists():
        if path.is_symlink():
            raise DwmError(
                f"{path}: is a link to {os.readlink(path)}, which is not there; mount its disk, or correct the link"
            )
        beside = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DwmError(f"{path}: does not exist{nearest(path.name, beside)}")


def _open_remote(url: str, endpoint: str | None) -> Tree:
    check_url(url)
    if url.endswith((*SUFFIXES, ".tgz", ".tar.gz")):
        return Archive(RemoteSource(url, endpoint))
    folder = RemoteFolder(url, endpoint)
    archives = [f"{folder.where}/{name}" for name in sorted(folder.roots) if name.endswith(SUFFIXES)]
    return union([*(Archive(RemoteSource(archive, endpoint)) for archive in archives), folder], folder.where)


class Union:
    """Several trees as one; of equal names the last tree's wins."""

    def __init__(self, trees: Sequence[Tree], where: str) -> None:
        self.trees, self.where = tuple(reversed(trees)), where
        self.beside = self.trees[0].beside

    def exists(self, name: str) -> bool:
        return any(tree.exists(name) for tree in self.trees)

    def read(self, name: str, most: int = limits.FILE) -> bytes:
        return self._holder(name).read(name, most)

    def open(self, name: str) -> io.BufferedIOBase:
        return self._holder(name).open(name)

    def names(self, prefix: str = "") -> Iterator[str]:
        return iter(sorted({name for tree in self.trees for name in tree.names(prefix)}))

    def folders(self, within: str = "") -> set[str]:
        return set().union(*(tree.folders(within) for tree in self.trees))

    def stamp(self, name: str) -> str:
        if name.endswith("/"):
            return " ".join(tree.stamp(name) for tree in self.trees)
        return next((stamp for tree in self.trees if (stamp := tree.stamp(name))), "")

    def size(self, name: str) -> int:
        return self._holder(name).size(name)

    def _holder(self, name: str) -> Tree:
        for tree in self.trees:
            if tree.exists(name):
                return tree
        for tree in self.trees:
            if isinstance(tree, Folder) and (tree.path / name).exists():
                return tree  # a pipe or a device, which it refuses
        raise missing(self.where, name)


def union(trees: Sequence[Tree], where: str | None = None) -> Tree:
    """Several trees as one, or the only one as it is."""
    if not trees:
        raise DwmError("no folder or archive was given")
    parts = [part for tree in trees for part in (reversed(tree.trees) if isinstance(tree, Union) else (tree,))]
    warn_of_overlap([part for part in parts if isinstance(part, Archive)], parts[0].beside)
    return trees[0] if len(trees) == 1 else Union(trees, where or _names(trees))


def _names(trees: Sequence[Tree]) -> str:
    """Several trees in words, short enough for a line."""
    names = " + ".join(tree.where for tree in trees[:SHOWN])
    return names if len(trees) <= SHOWN else f"{names} + {len(trees) - SHOWN} more"


def warn_of_packed(folder: Path) -> None:
    """Says which tars of a folder cannot be read where they lie, unless their zips lie beside them."""
    names = {child.name for child in folder.iterdir()}
    stems = {name: name[: -len(ending)] for name in sorted(names) for ending in PACKED if name.endswith(ending)}
    left = [name for name, stem in stems.items() if not {f"{stem}.zip", f"{stem}.tar"} & names]
    if left:
        warnings.warn(
            f"{folder}: {len(left)} packed tars are not read ({left[0]}, …); turn each into a zip: "
            f"dwm data zip {folder / left[0]} {folder / stems[left[0]]}.zip",
            stacklevel=3,
        )


def warn_of_overlap(archives: Sequence[Archive], beside: str | Path) -> None:
    """Says which names several archives hold. Large ones are compared once, and the answer is kept."""
    if len(archives) < 2:
        return
    if sum(len(archive.members) for archive in archives) < COMPARED_ANEW:
        tables = _overlap(archives)
    else:
        key = " ".join(f"{archive.where.rpartition('/')[2]} {archive.source.stamp}" for archive in archives)
        tables, _ = kept_tables(cache_folder(beside), "overlap", key, lambda: _overlap(archives))
    for row in tables["overlap"].to_pylist():
        warnings.warn(
            f"{row['later']}: holds {row['count']} names that {row['earlier']} holds too ({row['example']}, …); "
            "the later archive's are read",
            stacklevel=3,
        )


def _overlap(archives: Sequence[Archive]) -> dict[str, pa.Table]:
    rows = []
    for i, later in enumerate(archives):
        for earlier in archives[:i]:
            one, other = later.members.table["name"], earlier.members.table["name"]
            if (
                not (len(one) and len(other))
                or one[-1].as_py() < other[0].as_py()
                or other[-1].as_py() < one[0].as_py()
            ):
                continue
            common = one.filter(pc.is_in(one, value_set=other))
            if len(common):
                values = {"later": later.where, "earlier": earlier.where}
                rows.append(values | {"count": len(common), "example": common[0].as_py()})
    return {"overlap": pa.Table.from_pylist(rows, OVERLAP)}
