"""Folders, zips, tars, S3 read as one tree; atomic writes. It never parses what it reads."""

from dwm.storage.atomic import atomic_folder, atomic_write
from dwm.storage.cache import cache_folder, kept_tables, load_tables
from dwm.storage.folder import Files
from dwm.storage.members import SortedNames
from dwm.storage.tar_to_zip import Zipped, zip_tar
from dwm.storage.tree import Tree, open_tree, union

__all__ = [
    "Files",
    "SortedNames",
    "Tree",
    "Zipped",
    "atomic_folder",
    "atomic_write",
    "cache_folder",
    "kept_tables",
    "load_tables",
    "open_tree",
    "union",
    "zip_tar",
]
