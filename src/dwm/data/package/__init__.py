"""Scene packages: any car's recordings as Parquet tables and pictures; written, read as a data set, turned from and to nuScenes."""

from dwm.data.package.schema import Manifest
from dwm.data.package.writer import PackageWriter

__all__ = ["Manifest", "PackageWriter"]
