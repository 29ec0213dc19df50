"""Generated pictures under the names of the photographs that they stand for, so that what reads the data set reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dwm.clip import Clip, PartOfPictures, Pictures
from dwm.clip_batch import ClipBatch
from dwm.config import Recipe
from dwm.data.films import film_of
from dwm.data.tables.sensors import TreePictures
from dwm.errors import DwmError
from dwm.opendwm.commands.examples import Draws
from dwm.opendwm.commands.held_out import clips_of
from dwm.opendwm.commands.previews import Preview, generate_clip, pipeline_of, with_conditions
from dwm.opendwm.config.data import LAYOUT_PACKAGE
from dwm.storage import atomic_write, check_folder, inside
from dwm.training.parallel.ranks import current_ranks, group

QUALITY = 95
"""Of JPEGs."""
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def export_generated(
    run: Recipe,
    output: Path,
    count: int | None = None,
    tiny: bool = False,
    source: str = "config",
    say: Callable[[str], None] = print,
) -> int:
    """Generates the held-out clips, and writes each picture to `output`/NAME, as large as the photograph NAME was.

    Returns how many this process wrote: of several that torchrun started each makes its share of the clips. `output` must be
    new or empty: no photograph is ever replaced. Raises DwmError for sets whose pictures are no files of their own.
    """
    if not run.data.validation:
        raise DwmError(f"{source}: data.validation is empty; there is nothing to generate")
    for part in run.data.validation:
        if part.kind == LAYOUT_PACKAGE:
            raise DwmError(
                f"{source}: {part.path} is a package of layouts, which names no photographs; preview.py shows it"
            )
    check_folder(output, empty=True)
    pictures: set[str] = set()
    with group("auto" if tiny else run.device) as device:
        preview, ranks = Preview(tiny=tiny), current_ranks()
        pipe = pipeline_of(run.with_(device=str(device)), preview, source)
        draws = Draws(run.training.seed, continued=True, shared=ranks.count > 1)
        size = pipe.card.sizes[0] if tiny else run.data.size
        for number, (clip, batch) in enumerate(_clips(run, size, count)):
            if number % ranks.count != ranks.rank:
                continue
            names = _names(clip, clip.pictures)
            generated = generate_clip(pipe, with_conditions(batch, pipe, preview), run, draws.of(number))
            before = len(pictures)
            _write(clip, names, generated[0], output, pictures)
            say(f"{clip.scene}: {len(pictures) - before} pictures → {output}")
    return len(pictures)


def _clips(run: Recipe, size: tuple[int, int], count: int | None) -> Iterator[tuple[Clip, ClipBatch]]:
    left = count if count is not None else -1
    for part in run.data.validation:
        for pair in clips_of(run, part, size):
            if left == 0:
                return
            yield pair
            left -= 1


def _names(clip: Clip, pictures: Pictures | None) -> tuple[tuple[str, ...], ...]:
    """The photographs' names by frame and view. Raises DwmError for pictures that are no files."""
    if isinstance(pictures, PartOfPictures):
        whole = _names(clip, pictures.whole)
        return tuple(tuple(whole[frame][view] for view in pictures.views) for frame in pictures.frames)
    if not isinstance(pictures, TreePictures):
        raise DwmError(
            f"{clip.scene}: its pictures are no files whose places generated ones could take; preview.py shows them"
        )
    for name in (name for row in pictures.files for name in row):
        if film_of(name) is not None or Path(name).suffix.lower() not in FORMATS:
            raise DwmError(
                f"{clip.scene}: {name} is no picture by itself ({', '.join(FORMATS)}); preview.py shows such sets"
            )
    return pictures.files


def _write(
    clip: Clip,
    names: tuple[tuple[str, ...], ...],
    generated: Float[Tensor, "t v 3 h w"],
    output: Path,
    pictures: set[str],
) -> None:
    """A photograph that several clips show is written once, by the first of them."""
    levels = (generated.clamp(0, 1) * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()
    for frame, row in enumerate(levels):
        sizes = clip.rig.at(frame).image_size
        for view, picture in enumerate(row):
            name = inside(names[frame][view], f"{clip.scene}: a picture")
            if name in pictures:
                continue
            pictures.add(name)
            with atomic_write(output / name) as temporary:
                _picture(picture, tuple(sizes[view].tolist())).save(
                    temporary, FORMATS[Path(name).suffix.lower()], quality=QUALITY
                )


def _picture(picture: np.ndarray, size: tuple[int, ...]) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(picture))
    width, height = size
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)
