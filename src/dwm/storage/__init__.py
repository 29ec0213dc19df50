"""Folders, zips, tars, S3 read as one tree; atomic writes. It never parses what it reads."""

from dwm.storage.atomic import atomic_write

__all__ = ["atomic_write"]
