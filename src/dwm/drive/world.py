"""`DrivingWorld`: a source of steering and weights as one world: an action in, pictures out, frame after frame.

It knows neither threads nor browsers; `drive/session.py` runs it beside them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from dwm.checkpoints.card import Size
from dwm.clip import Rig
from dwm.clip_batch import ClipBatch
from dwm.drive.source import Action, Moment, Source, clip_of
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.generation.live import LiveVideo, live_video
from dwm.report import Video

LONGEST_PROMPT = 2000
"""Letters of a prompt; encoders read a small part of so many."""


@dataclass(frozen=True)
class Picture:
    """What the network drew for one frame, the moment that it was told, and its frame number, counted from 0.

    rig: the cameras at that moment; prompt: the words that took the place of the source's, if any; layout: the boxes and the map
    that it was told; real: what the source itself saw, where that was asked for.
    """

    frame: int
    moment: Moment
    rig: Rig
    prompt: str | None
    views: UInt8[np.ndarray, "v h w 3"]
    layout: UInt8[np.ndarray, "v h w 3"] | None = None
    real: UInt8[np.ndarray, "v h w 3"] | None = None


class DrivingWorld:
    """A world that answers to steering.

    `step` goes one tick of the source on and gives the pictures that are finished by it: none, one or several, each
    with the moment that it shows. The same seed and the same calls give the same pictures on one machine.
    """

    def __init__(
        self,
        pipe: DrivingPipeline,
        source: Source,
        seed: int = 0,
        size: Size | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        overlap: int | None = None,
        with_real: bool = False,
        force: bool = False,
    ) -> None:
        """`with_real`: pictures bring along what the source itself saw.

        Raises DwmError for cameras or a size that the weights never saw, unless `force`.
        """
        self.pipe, self.source, self.with_real = pipe, source, with_real
        card, views = pipe.card, source.rig.names
        self.size = size or (card.sizes[0] if card.sizes else source.rig.size_of(0))
        if not force:
            card.check(self.size, card.window or 1, len(views), views)
        self.settings = {"num_inference_steps": steps, "guidance_scale": guidance, "overlap": overlap}
        self.reset(seed)

    @property
    def views(self) -> tuple[str, ...]:
        return self.source.rig.names

    @property
    def way(self) -> str:
        """How the weights make their pictures, in words."""
        return self.video.way

    def reset(self, seed: int | None = None) -> Moment:
        """The source's beginning, and fresh noise of `seed` (None: the same as before)."""
        self.seed = self.seed if seed is None else seed
        self.video: LiveVideo = live_video(self.pipe, self.size, self.seed, **self.settings)
        self.prompt: str | None = None
        self.frame = 0
        self.moment = self.source.reset(self.seed)
        self.waiting: list[Callable[..., Picture]] = []
        return self.moment

    def tell(self, prompt: str | None) -> None:
        """Other words from the next frame on, for all views; None: those of the source."""
        if prompt is not None and len(prompt) > LONGEST_PROMPT:
            raise DwmError(f"the prompt has {len(prompt)} letters; {LONGEST_PROMPT} at most")
        if prompt is not None and not self.pipe.card.conditions.text:
            raise DwmError(f"{self.pipe.card.name or 'these weights'} are told no words")
        self.prompt = prompt or None

    def change(self, time: str | None = None, weather: str | None = None) -> None:
        """Another time of day or weather from the next frame on."""
        self.source.change(time, weather)

    def step(self, action: Action) -> tuple[tuple[Picture, ...], Moment]:
        """One tick on. The pictures that it finished, and the moment that now is, which the next pictures will show."""
        self.moment = self.source.step(action)
        told = self.pipe.conditions(clip_of([self.moment], self.source), self.prompt, self.size)
        self.waiting.append(
            partial(
                Picture, frame=self.frame, moment=self.moment, rig=self.source.rig, prompt=self.prompt,
                layout=layout_of(told), real=self._real(),
            )
        )  # fmt: skip
        self.frame += 1
        finished = self.video.send(told)
        first, self.waiting = self.waiting[: len(finished)], self.waiting[len(finished) :]
        pictures = [one(views=as_bytes(views)) for one, views in zip(first, finished, strict=True)]
        return tuple(pictures), self.moment

    def _real(self) -> UInt8[np.ndarray, "v h w 3"] | None:
        if not self.with_real:
            return None
        pictures = [self.source.picture(view, self.size) for view in self.views]
        seen = [picture for picture in pictures if picture is not None]
        return np.stack(seen) if len(seen) == len(pictures) else None


def layout_of(told: ClipBatch) -> UInt8[np.ndarray, "v h w 3"] | None:
    """The boxes over the map that a batch of one frame holds."""
    drawn = [one for one in (told.layout_boxes, told.layout_map) if one is not None]
    if not drawn:
        return None
    return as_bytes((drawn[0] if len(drawn) == 1 else torch.maximum(*drawn))[:, 0].float().cpu())


def as_bytes(pictures: Float[Tensor, "1 v 3 h w"]) -> UInt8[np.ndarray, "v h w 3"]:
    """Pictures in [0, 1] as bytes."""
    return (pictures[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def as_jpeg(picture: UInt8[np.ndarray, "h w 3"], quality: int, subsampling: int = 0) -> bytes:
    """A JPEG; subsampling 0 keeps all colours, 2 one of four."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def mosaic(views: UInt8[np.ndarray, "v h w 3"], names: tuple[str, ...]) -> UInt8[np.ndarray, "H W 3"]:
    """One frame's views side by side, named."""
    pictures = torch.from_numpy(views).permute(0, 3, 1, 2)[None, None].float() / 255
    return Video(pictures, 1.0, names).mosaic().frames[0]
