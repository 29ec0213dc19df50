"""Folders, zips, tars, S3 read as one tree; atomic writes. It never parses what it reads."""

from dwm.storage.atomic import atomic_write
from dwm.storage.tree import Tree, open_tree, union

__all__ = ["Tree", "atomic_write", "open_tree", "union"]
