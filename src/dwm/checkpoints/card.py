"""The card of a weights folder (`dwm.json`): what the weights saw and how they like to be sampled. Loads no weights."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field, model_validator

from dwm.conditions import ConditionOptions
from dwm.conventions import NUSCENES_VIEWS
from dwm.data import CaptionOptions, LayoutOptions
from dwm.errors import DwmError
from dwm.options import Options

Size = tuple[int, int]
Optional = Literal["text", "boxes", "map", "layout"]
LAYOUTS = ("boxes", "map")


class SamplingOptions(Options):
    """How a video is sampled when the caller does not say otherwise."""

    num_inference_steps: int = Field(40, ge=1, le=1000, description="steps from noise to pictures")
    guidance_scale: float = Field(
        4.0, ge=0, description="how far to exaggerate the conditions; 1 is none and half the work"
    )
    reference_frames: int = Field(
        1, ge=0, le=64, description="frames that each window of a long video takes over from the one before"
    )
    finished_frames: int = Field(
        0, ge=0, le=64, description="diffusion forcing: finished frames that stay in the queue to be looked at"
    )
    solver: Literal["usual", "multistep"] = Field(
        "usual",
        description="usual: Euler steps of a flow, DDIM of SD 2.1; multistep: DPM-Solver++, SD 2.1 by windows only",
    )
    text_every: int = Field(1, ge=1, description="stream: words are read again every so many frames")
    style: Literal["windows", "forcing", "stream"] = Field(
        "windows",
        description="long videos by windows; or by diffusion forcing: a queue of frames at staggered noise levels, with "
        "all conditions known (forcing) or sent in frame by frame (stream)",
    )


class QueueOptions(Options):
    """The queue that frames sent one by one are made in: noise rises from frame to frame."""

    length: int = Field(4, ge=1, le=64, description="frames that are seen together")
    finished: int = Field(2, ge=0, le=63, description="of these, finished ones that stay to be looked at")

    @model_validator(mode="after")
    def _moves(self) -> QueueOptions:
        if self.finished >= self.length:
            raise ValueError(f"finished: {self.finished} of {self.length} frames leave none that moves; give fewer")
        return self


class FastOptions(Options):
    """How the network that was distilled for few steps is sampled; other steps it never saw."""

    num_inference_steps: int = Field(4, ge=1, le=1000, description="steps from noise to pictures")
    guidance_scale: float = Field(1.0, ge=0, description="1: the guidance is in the network")
    queue: QueueOptions | None = Field(None, description="as of the card")


class WeightsCard(Options):
    """What a network's weights saw. Anything else is refused unless forced."""

    name: str = Field("", description="what these weights are called")
    sizes: tuple[Size, ...] = Field((), description="picture sizes (width, height) seen; none: any")
    lengths: tuple[int, ...] = Field((), description="numbers of frames in one window seen; longer videos take several")
    view_counts: tuple[int, ...] = Field((), description="numbers of views seen together; none: any")
    views: tuple[str, ...] = Field(NUSCENES_VIEWS, description="names of the views, in the order of training")
    fps: float = Field(4.0, gt=0, description="frames per second seen")
    conditions: ConditionOptions = Field(ConditionOptions(), description="what the network is told")
    optional: tuple[Optional, ...] = Field(
        (),
        description="conditions that may be missing, because training left them out at times; layout: boxes and map together",
    )
    layout: LayoutOptions = Field(LayoutOptions(), description="how its layout pictures are drawn")
    captions: CaptionOptions = Field(
        CaptionOptions(), description="which parts of a caption are told; nothing by chance here"
    )
    sampling: SamplingOptions = Field(SamplingOptions(), description="defaults of sampling")
    fast: FastOptions | None = Field(
        None,
        description="sampling of the network that was distilled for few steps; none: the folder holds no such network",
    )
    queue: QueueOptions | None = Field(
        None,
        description="queue of weights that know noise of any level in each frame; none: they are driven by windows",
    )
    prediction: Literal["flow", "epsilon", "v_prediction"] = Field(
        "flow", description="what the network predicts: the flow's velocity, or DDPM's noise or velocity"
    )
    compatibility: Literal["ours", "reference"] = Field(
        "ours", description="reference: keep OpenDWM's oddities in sampling, so that its users get their numbers"
    )
    base_model: str | None = Field(None, description="folder of the base model where it is not beside this card")
    autoencoder_folder: str | None = Field(None, description="folder of another autoencoder than the base model's")

    @property
    def window(self) -> int | None:
        """Frames of the longest window seen; None where any length goes."""
        return max(self.lengths, default=None)

    def fast_card(self) -> WeightsCard:
        """The card of the network for few steps alone. Raises DwmError where there is none."""
        if self.fast is None:
            raise DwmError(
                f"--fast: {self.name or 'the weights'} hold no network for few steps; leave it out, or distil one: "
                "dwm train town-fast weights=FOLDER"
            )
        sampling = self.sampling.with_(**self.fast.model_dump(exclude={"queue"}))
        return self.with_(sampling=sampling, queue=self.fast.queue, fast=None)

    def lacking(self, names: Collection[str]) -> tuple[str, ...]:
        """The conditions that these weights were never without and that are not among the given ones."""
        used = [name for name in ("text", *LAYOUTS) if getattr(self.conditions, name)]
        missing = [name for name in used if name not in names]
        if "layout" in self.optional and not set(LAYOUTS) & set(used) & set(names):
            missing = [name for name in missing if name not in LAYOUTS]
        return tuple(name for name in missing if name not in self.optional)

    def check(self, size: Size, length: int, views: int, names: tuple[str, ...] = ()) -> None:
        """Raises DwmError for what the weights never saw, with the list of what they did."""
        named = self.name or "the weights"
        if self.sizes and size not in self.sizes:
            listing = ", ".join(f"{w}x{h}" for w, h in self.sizes)
            raise DwmError(f"size {size[0]}x{size[1]} was never seen by {named} (seen: {listing}); --force to try")
        if self.window is not None and length not in self.lengths and length < self.window:
            listing = ", ".join(map(str, sorted(self.lengths)))
            raise DwmError(
                f"{length} frames were never seen by {named} (seen: {listing}, and longer ones); --force to try"
            )
        if self.view_counts and views not in self.view_counts:
            listing = ", ".join(map(str, sorted(self.view_counts)))
            raise DwmError(f"{views} views were never seen together by {named} (seen: {listing}); --force to try")
        indices = [self.views.index(name) for name in names if name in self.views]
        if indices != sorted(indices):
            order = ", ".join(name for name in self.views if name in names)
            raise DwmError(
                f"views in the order {', '.join(names)} were never seen by {named} (seen: {order}); --force to try"
            )
