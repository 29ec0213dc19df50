"""Opens a folder of Waymo Open: segments of Perception v1 (TFRecord), or component folders of v2 (Parquet). Reads names only."""

from __future__ import annotations

from dwm.data.tables.row_tables import RowTables
from dwm.data.waymo.component_tables import WaymoComponents
from dwm.data.waymo.components import POSES, ComponentTree, component_folders
from dwm.data.waymo.records import RecordTree
from dwm.data.waymo.splits import FOLDERS
from dwm.data.waymo.tables import WaymoTables, segment_files
from dwm.errors import DwmError, nearest
from dwm.storage import Tree


def has_segments(tree: Tree) -> bool:
    """Whether a tree holds segments of either format."""
    return bool(segment_files(tree) or component_folders(tree))


def open_waymo(tree: Tree, version: str | None) -> RowTables:
    """The segments of a folder, such as `training` (None: the first that is there).

    Raises DwmError for one that is not there, and where the two formats lie in one place.
    """
    files_of, components = segment_files(tree), component_folders(tree)
    places = {*files_of, *components}
    known = [*(name for name in FOLDERS.values() if name in places), *sorted(places - set(FOLDERS.values()))]
    if version is not None and version not in places:
        raise DwmError(
            f"{tree.where}: holds no segments in {version}{nearest(version, known)} (there are: {', '.join(known)})"
        )
    folder = known[0] if version is None else version
    if folder in files_of and folder in components:
        raise DwmError(
            f"{tree.where}: {folder or 'the folder'} holds segments of Perception v1 ({files_of[folder][0]}) and components of v2 "
            f"({POSES}, …), which are one set in two formats; move one of them into a folder of its own"
        )
    if version is None and files_of and components:
        raise DwmError(
            f"{tree.where}: holds Perception v1 in {', '.join(files_of)} and v2 in {', '.join(components)}, which are two formats; "
            f"give one of these folders, or --version {known[0]}"
        )
    if folder in components:
        return WaymoComponents(ComponentTree(tree), folder or "segments", folder)
    return WaymoTables(RecordTree(tree), folder or "segments", tuple(files_of[folder]), folder)
