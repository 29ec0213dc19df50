"""The held-out clips of a run as batches at the run's size: what previews show. Draws layouts, loads no network."""

from __future__ import annotations

from collections.abc import Iterator

from dwm.clip import Clip
from dwm.clip_batch import ClipBatch
from dwm.config import Recipe
from dwm.config.data import SourceOptions
from dwm.data import prepare
from dwm.data.options import CaptionOptions
from dwm.errors import DwmError
from dwm.opendwm.commands.layout_package import package_batches
from dwm.opendwm.config.data import LAYOUT_PACKAGE
from dwm.runs.clips import validation_clips


def held_out_batches(run: Recipe, size: tuple[int, int], as_published: bool) -> Iterator[ClipBatch]:
    """Every window of the run's validation sets, one batch each, pictures and layouts at `size` (width, height).

    `as_published` keeps an oddity of packages (`LayoutPackage`). Raises DwmError where there is no validation set, or one of a
    kind that cannot be read.
    """
    if not run.data.validation:
        raise DwmError(f"{run.name or 'config'}: data.validation is empty; there is nothing to look at")
    for source in run.data.validation:
        if source.kind == LAYOUT_PACKAGE:
            yield from package_batches(source, size, as_published)
        else:
            yield from (batch for _, batch in clips_of(run, source, size))


def clips_of(run: Recipe, source: SourceOptions, size: tuple[int, int]) -> Iterator[tuple[Clip, ClipBatch]]:
    """Every window of one validation set, as it was cut and as a batch of one."""
    clips = validation_clips(run.data.with_(validation=(source,)))
    layout = source.layout or run.data.layout
    words: CaptionOptions = source.words.with_(reorder=False, drop_rates={})
    for index in range(len(clips)):
        yield (clip := clips[index]), prepare(clip, size, layout, captions=words)
