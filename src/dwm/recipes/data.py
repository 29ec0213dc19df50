"""What a run reads: the data set, the windows cut from it, and how pictures, layout and captions are prepared."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dwm.clip import NUSCENES_VIEWS
from dwm.data.layout import LayoutOptions
from dwm.options import Options


class DataOptions(Options):
    source: Literal["nuscenes", "town"] = Field(
        "nuscenes", description="nuscenes: read from `path`; town: drawn while training"
    )
    path: str | None = Field(None, description="the data set: a folder, or the folder of its zips")
    version: str | None = Field(None, description="its version, such as v1.0-trainval; none: the one that is there")
    train_split: str = Field("train", description="scenes to train on")
    validation_split: str = Field("val", description="scenes to preview and score on; never trained on")
    views: tuple[str, ...] = Field(NUSCENES_VIEWS, description="cameras, in the order in which the network sees them")
    size: tuple[int, int] = Field((448, 256), description="width and height of a picture in pixels")
    frames: int = Field(19, ge=1, description="frames of a training clip")
    validation_frames: int = Field(35, ge=1, description="frames of a validation clip")
    fps: float = Field(10.0, ge=0, description="frames a second; 0: single pictures")
    stride: float = Field(0.1, gt=0, description="seconds from one window's start to the next")
    layout: LayoutOptions = Field(LayoutOptions(), description="how boxes and map are drawn")
    workers: int = Field(0, ge=0, description="reading processes; 0: read in the training process")
