"""What a run reads: the data sets, the windows cut from them, and how pictures, layout and captions are prepared."""

from __future__ import annotations

from pydantic import Field, field_validator

from dwm.conventions import NUSCENES_VIEWS
from dwm.data import CaptionOptions, LayoutOptions
from dwm.data.open import USUAL, check_kind
from dwm.options import Options

Rate = tuple[float, float]
"""Frames a second (0: single pictures) and seconds (or frames) from one window's start to the next."""


class SourceOptions(Options):
    """One data set and the windows that are cut from it."""

    kind: str = Field(
        USUAL,
        description="what it is: nuscenes, town (drawn, no files), …; a path is opened as what lies there, and the run says what",
    )
    path: str | None = Field(None, description="the data set: a folder, or the folder of its archives")
    archives: tuple[str, ...] = Field((), description="archives below `path` to read; none: whatever lies there")
    endpoint: str | None = Field(None, description="address of an S3 service where `path` is a bucket")
    version: str | None = Field(None, description="its version, such as v1.0-trainval; none: the one that is there")
    seed: int = Field(0, ge=0, description="town: which town; scenes are numbered within it")
    split: str | None = Field(None, description="scenes: train, val, a file of names, …; none: all")
    views: tuple[str, ...] = Field(NUSCENES_VIEWS, description="cameras, in the order in which the network sees them")
    lidar_clock: bool = Field(True, description="whether the LiDAR, where there is one, sets the windows' times")
    frames: int = Field(19, ge=1, description="frames of a clip")
    rates: tuple[Rate, ...] = Field(((10.0, 0.1),), description="windows: (frames a second, seconds between starts)")
    check_times: bool = Field(
        True, description="leave out windows with frames further than half a frame from their time"
    )
    key_frames_only: bool = Field(False, description="whether sweeps between key frames are left out")
    maps: bool = Field(True, description="whether maps are read; without one of them, reading fails")
    boxes_between: bool = Field(
        True, description="whether frames between two annotated moments have interpolated boxes; else they have none"
    )
    captions: tuple[str, str] | None = Field(
        None, description="caption file and its times file: paths or URLs; none: by their names in the data set"
    )
    words: CaptionOptions = Field(CaptionOptions(), description="which words of a caption are told")
    layout: LayoutOptions | None = Field(None, description="how boxes and map are drawn; none: as `data.layout` says")
    index: str | None = Field(None, description="file that lists what lies where (waymo, opendv, layouts)")
    left_out: tuple[str, ...] = Field((), description="recordings that are not used (opendv)")
    clips_as_views: int | None = Field(
        None, ge=1, description="opendv: so many clips of one camera stand as views, all at one rate"
    )
    order_seed: int | None = Field(
        42, ge=0, description="clips_as_views: seed of the order in which clips come together; none: as they come"
    )
    made_up_layout: float | None = Field(None, description="grey level of layout pictures where a set has none")
    uncalibrated: bool = Field(False, description="cameras without known calibration: told as none")
    crossview_mask: tuple[tuple[bool, ...], ...] | None = Field(
        None, description="which views see each other; none: as the cameras stand and look"
    )
    ratio: float | None = Field(
        None, gt=0, description="share of the clips that are seen, relative to the other sets'; none: every clip once"
    )
    drop_vehicle_colors: bool = Field(False, description="layouts: colours of vehicles are struck from captions")

    @field_validator("kind")
    @classmethod
    def _kind_is_known(cls, kind: str) -> str:
        check_kind(kind)
        return kind


class Mix(Options):
    """One kind of micro-batch of a run that mixes sizes."""

    size: tuple[int, int] = Field(..., description="width and height of a picture in pixels")
    share: float = Field(..., gt=0, description="relative share of the clips")
    frames: int = Field(..., ge=1, description="frames of a clip")
    clips: int | None = Field(
        None, ge=1, description="clips in a micro-batch; none: as many as make the first one's number of pixels"
    )


class DataOptions(Options):
    """What clips look like, whichever set they come from."""

    train: tuple[SourceOptions, ...] = Field(
        (SourceOptions(split="train"),), description="what is trained on, set after set"
    )
    validation: tuple[SourceOptions, ...] = Field(
        (SourceOptions(split="val", frames=35, rates=((10.0, 20.0),), check_times=False),),
        description="what is previewed and scored; training never sees it",
    )
    size: tuple[int, int] = Field((448, 256), description="width and height of a picture in pixels")
    mix: tuple[Mix, ...] = Field((), description="several sizes and lengths in one run; none: `size` alone")
    layout: LayoutOptions = Field(LayoutOptions(), description="how boxes and map are drawn")
    color_jitter: tuple[float, float, float] | None = Field(
        None, description="random changes of brightness, contrast and saturation in training"
    )
    clips: int | None = Field(
        None, ge=1, description="training clips that are prepared; none: every window of the sets"
    )
    shuffle: bool = Field(True, description="training clips in random order")
    fixed_order: bool = Field(False, description="the same order in every epoch")
    store: str | None = Field(
        None,
        description="folder or URL that `dwm data encode` filled with latents and embeddings; none: made on the way",
    )
    stored_text: bool = Field(True, description="whether embeddings of captions come from the store too")
    workers: int = Field(0, ge=0, description="processes that prepare clips; 0: the training process does")

    @property
    def first(self) -> SourceOptions:
        """The set that says how many views and frames there are."""
        return next(iter((*self.train, *self.validation)), SourceOptions())

    @property
    def views(self) -> int:
        """How many cameras a clip has."""
        return self.first.clips_as_views or len(self.first.views)

    @property
    def frames(self) -> int:
        """Frames of a training clip."""
        return self.first.frames
