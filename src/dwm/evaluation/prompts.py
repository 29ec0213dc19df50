"""`prompt_response`: do words change the light? The same clip told to be at night must come out darker than by day."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dwm.clip import Caption, Clip
from dwm.errors import DwmError
from dwm.report import Video

LUMA = (0.2126, 0.7152, 0.0722)
"""How bright red, green and blue look (BT.709)."""


@dataclass(frozen=True)
class PromptResponse:
    """How many clips are darker by night than by day, and the mean brightness (0 … 1) of each version."""

    darker: int
    clips: int
    night: tuple[float, ...]
    day: tuple[float, ...]


def brightness(video: Video) -> Float[Tensor, "b"]:
    """The mean luma of each clip, 0 … 1."""
    return torch.einsum("btvchw,c->b", video.frames.double(), torch.tensor(LUMA, dtype=torch.float64)) / (
        video.frames[0, :, :, 0].numel()
    )


def prompt_response(night: Video, day: Video) -> PromptResponse:
    """Compares clip by clip; the two videos hold the same clips with the same noise, told to be at night and by day."""
    if len(night) != len(day):
        raise DwmError(f"prompt_response: {len(night)} clips by night but {len(day)} by day; give the same clips")
    return respond(brightness(night).tolist(), brightness(day).tolist())


def respond(night: list[float], day: list[float]) -> PromptResponse:
    """The same from brightnesses that were measured before."""
    darker = sum(dark < light for dark, light in zip(night, day, strict=True))
    return PromptResponse(darker, len(night), tuple(night), tuple(day))


def told(clip: Clip, **words: str) -> Clip:
    """The clip with parts of its captions replaced: `told(clip, time="night")`."""
    captions = clip.captions or ((Caption(),) * len(clip.views),) * clip.length
    return clip.with_captions(tuple(tuple(replace(caption, **words) for caption in row) for row in captions))
