"""What a run reads: the data sets, the windows cut from them, and how pictures, layout and captions are prepared."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dwm.clip import NUSCENES_VIEWS
from dwm.data.layout import LayoutOptions
from dwm.options import Options

Rate = tuple[float, float]
"""Frames a second (0: single pictures) and seconds from one window's start to the next."""


class SourceOptions(Options):
    """One data set, both what is trained on and what is held out."""

    kind: Literal["nuscenes", "town"] = Field(
        "nuscenes", description="nuscenes: read from `path`; town: drawn, no files"
    )
    path: str | None = Field(None, description="the data set: a folder, or the folder of its zips")
    version: str | None = Field(None, description="its version, such as v1.0-trainval; none: the one that is there")
    train_split: str = Field("train", description="scenes to train on")
    validation_split: str = Field("val", description="scenes to preview and score on; never trained on")
    views: tuple[str, ...] = Field(NUSCENES_VIEWS, description="cameras, in the order in which the network sees them")
    rates: tuple[Rate, ...] = Field(
        ((10.0, 0.1),), description="training windows: (frames a second, seconds between starts)"
    )
    validation_rates: tuple[Rate, ...] = Field(((10.0, 20.0),), description="the same for validation")


class DataOptions(Options):
    """What clips look like, whichever set they come from."""

    sources: tuple[SourceOptions, ...] = Field((SourceOptions(),), description="data sets, one after another")
    size: tuple[int, int] = Field((448, 256), description="width and height of a picture in pixels")
    frames: int = Field(19, ge=1, description="frames of a training clip")
    validation_frames: int = Field(35, ge=1, description="frames of a validation clip")
    layout: LayoutOptions = Field(LayoutOptions(), description="how boxes and map are drawn")
    batch: int = Field(1, ge=1, description="clips in a micro-batch on each device")
    workers: int = Field(0, ge=0, description="reading processes; 0: read in the training process")

    @property
    def views(self) -> int:
        """How many cameras a clip has."""
        return len(self.sources[0].views)
