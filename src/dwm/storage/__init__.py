"""Folders, zips, tars, S3 read as one tree; atomic writes. It never parses what it reads."""

from dwm.storage.atomic import atomic_folder, atomic_write, working_folder
from dwm.storage.cache import KeptParts, cache_folder, kept_tables, load_tables
from dwm.storage.files import open_binary, read_file, regular
from dwm.storage.folder import Files
from dwm.storage.lock import held
from dwm.storage.members import SortedNames
from dwm.storage.names import check_column, inside, plain_name
from dwm.storage.output import check_file, check_folder, check_output
from dwm.storage.tar_to_zip import Zipped, zip_tar
from dwm.storage.tree import Tree, open_tree, union

__all__ = [
    "Files",
    "KeptParts",
    "SortedNames",
    "Tree",
    "Zipped",
    "atomic_folder",
    "atomic_write",
    "cache_folder",
    "check_column",
    "check_file",
    "check_folder",
    "check_output",
    "held",
    "inside",
    "kept_tables",
    "load_tables",
    "open_binary",
    "open_tree",
    "plain_name",
    "read_file",
    "regular",
    "union",
    "working_folder",
    "zip_tar",
]
