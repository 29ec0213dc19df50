"""Words that replace or change a clip's captions. Encodes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from dwm.clip import Caption, Clip
from dwm.clip_batch import ClipBatch
from dwm.errors import DwmError

Prompt = str | Caption | Sequence[str] | Sequence[Sequence[str]] | None


def with_changed_captions(clip: Clip, change: Caption) -> Clip:
    """The clip with the non-empty parts of `change` in all of its captions: other weather, the same street."""
    words = {item.name: value for item in fields(Caption) if (value := getattr(change, item.name))}
    return clip.with_words(**words)


def with_prompts(batch: ClipBatch, prompt: str | Sequence | None) -> ClipBatch:
    """The batch with `prompt` for its captions: one for all, one for each view, or one for each frame and view."""
    if prompt is None:
        return batch
    b, t, v = batch.shape
    if isinstance(prompt, str):
        rows = ((prompt,) * v,) * t
    elif all(isinstance(item, str) for item in prompt):
        rows = (_row(prompt, v),) * t
    else:
        rows = tuple(_row(row, v) for row in prompt)
        if len(rows) != t:
            raise DwmError(f"prompt has {len(rows)} lists of views for {t} frames; give one for each frame")
    return replace(batch, captions=(rows,) * b)


def _row(prompts: Sequence[str], views: int) -> tuple[str, ...]:
    if (
        isinstance(prompts, str)
        or not isinstance(prompts, Sequence)
        or not all(isinstance(item, str) for item in prompts)
    ):
        raise DwmError("prompt: give one text, a list with one for each view, or such a list for each frame")
    if len(prompts) != views:
        raise DwmError(f"prompt has {len(prompts)} texts for {views} views; give one for each view")
    return tuple(prompts)
