"""Where our sampling and OpenDWM's differ, as two sets of named choices; weights say which of them they are used by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from dwm.clip_batch import ClipBatch
from dwm.generation.forcing import Pictures, force_frames, force_frames_as_published
from dwm.generation.sampler import Sampler
from dwm.generation.streaming import Advance, advance_as_published, advance_at_rest

Queue = Callable[[Sampler, ClipBatch, int, int, int], Iterator[Pictures]]
"""Frames of diffusion forcing as they are finished: of a batch, a length, finished frames that stay, and reference frames."""


@dataclass(frozen=True)
class Conventions:
    """whole: a last window is shifted back to the clip's end, rather than left out. checked: conditions are asked for that the
    weights never were without. all_boxes: boxes that no layout colour is known for are drawn as well. double_shift: the
    scheduler's shift is applied twice. by_itself: a single frame or view leaves the blocks across frames or views out, as our
    training does."""

    whole: bool
    checked: bool
    all_boxes: bool
    double_shift: bool
    by_itself: bool
    queue: Queue
    advance: Advance


OURS = Conventions(True, True, False, False, True, force_frames, advance_at_rest)
AS_PUBLISHED = Conventions(False, False, True, True, False, force_frames_as_published, advance_as_published)
CONVENTIONS: dict[Literal["ours", "reference"], Conventions] = {"ours": OURS, "reference": AS_PUBLISHED}
"""By the `compatibility` of a weights card."""
