"""Captions through the text encoders. Guidance puts the negative prompt in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dwm.conditions.condition import Fields, Request
from dwm.conditions.options import ConditionOptions
from dwm.errors import DwmError


class Text:
    """The caption of each picture: a sequence of tokens and, where the family has it, one pooled vector."""

    name: ClassVar[str] = "text"
    dropped_with_all: ClassVar[bool] = True
    fields: ClassVar[Mapping[str, int]] = {"text": -1, "pooled": -1}

    def is_used(self, options: ConditionOptions) -> bool:
        return options.text

    def is_drawn(self, options: ConditionOptions) -> bool:
        return True

    def encode(self, request: Request) -> Fields:
        if request.text is None:
            raise DwmError(
                "the weights are told captions, but no text encoder was loaded; load the base model with text"
            )
        batch = request.batch
        b, t, v = len(batch.fps), len(request.frames), batch.shape[2]
        prompts = self._prompts(request)
        if request.guidance:
            prompts = [request.negative_prompt] * len(prompts) + prompts
        embedding = request.text.encode(prompts, request.gradients).to(batch.fps.device)
        shape = (2 * b if request.guidance else b, t, v)
        encoded = {"text": embedding.sequence.unflatten(0, shape).to(request.dtype)}
        if embedding.pooled is not None:
            encoded["pooled"] = embedding.pooled.unflatten(0, shape).to(request.dtype)
        return encoded

    def _prompts(self, request: Request) -> list[str]:
        captions, (b, _, v) = request.batch.captions, request.batch.shape
        keep = request.keep[self.name].tolist() if self.name in request.keep else [True] * b
        return [
            "" if captions is None or not keep[clip] else captions[clip][frame][view]
            for clip in range(b)
            for frame in request.frames
            for view in range(v)
        ]
