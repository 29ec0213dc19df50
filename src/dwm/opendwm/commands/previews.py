"""Previews of a run's held-out clips: what is known of each above what is generated, stacked as OpenDWM stacks them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from dwm.clip_batch import ClipBatch
from dwm.config import Recipe, read_json, save
from dwm.config.data import SourceOptions
from dwm.config.files import validated
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.generation.conventions import AS_PUBLISHED
from dwm.generation.rollout import windows
from dwm.opendwm.commands.examples import Draws
from dwm.opendwm.commands.held_out import held_out_batches
from dwm.opendwm.config.data import LAYOUT_PACKAGE
from dwm.options import Options
from dwm.report.film import Film
from dwm.runs.generate import stepping
from dwm.runs.published import published_pipeline
from dwm.storage import atomic_write, check_folder
from dwm.training.parallel.ranks import current_ranks, group

TOWN_FRAMES = 8
"""Frames at most of a town's clip that stands for a package which is not here."""
TINY_STEPS = 12
"""Sampling steps at most of the built-in weights, which need no more."""
Words = tuple[tuple[tuple[str, ...], ...], ...]


class TextChange(Options):
    """What is done to the captions of a preview (`text` of OpenDWM's preview config)."""

    type: Literal["add", "replace", "template"] = Field(
        ..., description="add: `prompt` before each caption; replace: `prompt` for all; template: by time and weather"
    )
    prompt: str = Field("", description="the words")
    time: str = Field("", description="template: time of day")
    weather: str = Field("", description="template: weather")
    template: dict[str, dict[str, tuple[tuple[str, ...], ...]]] = Field(
        {}, description="texts by time, weather and view; the first of each list is used"
    )

    def apply(self, words: Words | None, shape: tuple[int, int, int]) -> Words:
        """The words of every clip, frame and view after the change."""
        b, t, v = shape
        if self.type == "replace":
            return (((self.prompt,) * v,) * t,) * b
        if self.type == "template":
            return (((self._row(v),) * t),) * b
        before = words or ((("",) * v,) * t,) * b
        return tuple(tuple(tuple(self.prompt + text for text in row) for row in clip) for clip in before)

    def _row(self, views: int) -> tuple[str, ...]:
        texts = self.template.get(self.time, {}).get(self.weather)
        if texts is None or len(texts) != views or not all(texts):
            raise DwmError(
                f"text.template: has no {views} texts for time {self.time!r} and weather {self.weather!r} "
                f"(times: {', '.join(self.template) or 'none'})"
            )
        return tuple(view[0] for view in texts)


class PreviewConfig(Options):
    """OpenDWM's preview config (`-pc`)."""

    text: TextChange | None = Field(None, description="what is done to the captions; null: nothing")


def replaced_by(prompts: Sequence[str]) -> TextChange | None:
    """The change that puts these words in place of all captions: one text for all views, or one for each."""
    if len(prompts) < 2:
        return TextChange(type="replace", prompt=prompts[0]) if prompts else None
    return TextChange(type="template", template={"": {"": tuple((prompt,) for prompt in prompts)}})


@dataclass(frozen=True)
class Preview:
    """How previews are made. count: so many clips at most; export: write what each was told, as JSON beside it."""

    text: TextChange | None = None
    tiny: bool = False
    export: bool = False
    count: int | None = None


def read_preview_config(path: Path | None) -> TextChange | None:
    return None if path is None else validated(PreviewConfig, read_json(path), str(path)).text


def run_previews(
    run: Recipe, output: Path, preview: Preview = Preview(), source: str = "config", say: Callable[[str], None] = print
) -> list[Path]:
    """Generates the held-out clips into `output`/preview/{k}.png or .mp4; the run is saved beside. `source` names its file.

    `output` may be the folder of a training run, of which nothing is changed.
    """
    if not run.data.validation:
        raise DwmError(f"{source}: data.validation is empty; there is nothing to look at")
    check_folder(output, ("config.json",))
    check_folder(output / "preview")
    with group("auto" if preview.tiny else run.device) as device:
        return _shared_previews(run, str(device), output, preview, source, say)


def _shared_previews(
    run: Recipe, device: str, output: Path, preview: Preview, source: str, say: Callable[[str], None]
) -> list[Path]:
    """What this process makes: of several that torchrun started each takes its share of the clips, so that each is made once."""
    pipe, ranks = pipeline_of(run.with_(device=device), preview, source), current_ranks()
    count = preview.count
    if preview.tiny and (other := _with_town(run, pipe.card.fps, say if ranks.first else _unsaid)) is not run:
        run, count = other, count or len(other.data.validation)
    size = pipe.card.sizes[0] if preview.tiny else run.data.size
    draws = Draws(run.training.seed, continued=True, shared=ranks.count > 1)
    files: list[Path] = []
    for number, batch in enumerate(islice(held_out_batches(run, size, pipe.conventions is AS_PUBLISHED), count)):
        if number % ranks.count != ranks.rank:
            continue
        batch = with_conditions(batch, pipe, preview)
        generated = generate_clip(pipe, batch, run, draws.of(number))
        folder = output / "preview" / str(number)
        files.append(stacked(batch, generated, run.preview.size).save(folder.with_suffix(_suffix(generated))))
        say(f"{', '.join(batch.scenes)}: {generated.shape[1]} frames → {files[-1]}")
        if preview.export:
            files.append(_export(batch, folder.with_suffix(".json")))
    if ranks.first:
        save(run, output / "preview")
    return files


def _unsaid(text: str) -> None:
    """Another process says it."""


def _with_town(run: Recipe, fps: float, say: Callable[[str], None]) -> Recipe:
    """The run with a clip of the town for each package that is not here."""
    sources = []
    for source in run.data.validation:
        if source.kind == LAYOUT_PACKAGE and not Path(source.path or "").is_file():
            say(f"{source.path} is not here: a clip of the town is drawn for it")
            frames = min(source.frames, TOWN_FRAMES)
            source = SourceOptions(kind="town", seed=run.training.seed, frames=frames, rates=((fps, 1.0),))
        sources.append(source)
    same = tuple(sources) == run.data.validation
    return run if same else run.with_(data=run.data.with_(validation=tuple(sources)))


def pipeline_of(run: Recipe, preview: Preview, source: str) -> DrivingPipeline:
    """The run's own weights; the built-in ones where the preview is a tiny one."""
    if not preview.tiny:
        return published_pipeline(run, source)
    pipe = DrivingPipeline.from_pretrained("town", torch_dtype="auto", device=run.device)
    steps = min(TINY_STEPS, run.sampling.num_inference_steps)
    pipe.card = pipe.card.with_(sampling=pipe.card.sampling.with_(num_inference_steps=steps))
    return pipe


def with_conditions(batch: ClipBatch, pipe: DrivingPipeline, preview: Preview) -> ClipBatch:
    """The clip with the words that the preview puts in place of its own; none become empty ones where weights read words."""
    if preview.text is not None:
        batch = replace(batch, captions=preview.text.apply(batch.captions, batch.shape))
    if batch.captions is None and pipe.card.conditions.text:
        b, t, v = batch.shape
        batch = replace(batch, captions=((("",) * v,) * t,) * b)
    return batch


def generate_clip(pipe: DrivingPipeline, batch: ClipBatch, run: Recipe, generator: torch.Generator) -> Tensor:
    """(b, t, v, 3, H, W) on the CPU. The clip's own first frames are given where the run says so and the set has them."""
    references = run.sampling.reference_frames if run.preview.given_frames and batch.frames is not None else 0
    window = min(pipe.card.window or batch.shape[1], batch.shape[1])
    with stepping("generate", _steps(pipe, batch.shape[1], window)) as on_step:
        pictures = pipe(
            batch,
            generator=generator,
            reference_frames=min(references, window - 1),
            force=True,
            callback_on_step_end=on_step,
            output_type="pt",
        )
    return pictures.cpu()


def _steps(pipe: DrivingPipeline, frames: int, window: int) -> int:
    """Sampling steps of a whole clip, for the line of progress."""
    steps, sampling = pipe.card.sampling.num_inference_steps, pipe.card.sampling
    if sampling.style != "windows":
        return steps + (frames - 1) * steps // max(1, window - sampling.finished_frames)
    return steps * len(windows(frames, window, min(sampling.reference_frames, window - 1)))


def stacked(batch: ClipBatch, generated: Tensor, size: tuple[int, int] | None) -> Film:
    """Rows of photographs, boxes, map and generated pictures, a column for each view; clips below one another.

    Pictures are brought to `size` (width, height; None: as they are). A single frame, or pictures at 0 frames a second, make
    one picture.
    """
    frames = generated.shape[1]
    pictures = (batch.frames, batch.layout_boxes, batch.layout_map)
    rows = [row[:, :frames].cpu() for row in pictures if row is not None] + [generated]
    sheets = torch.cat([_sheet(row, size) for row in rows], 2)  # b t h w 3
    if frames > 1 and float(batch.fps[0]) > 0:
        return Film(np.concatenate(list(sheets.numpy()), 1), float(batch.fps[0]))
    return Film(sheets.flatten(0, 2)[None].numpy(), 1)


def _sheet(row: Tensor, size: tuple[int, int] | None) -> Tensor:
    """(b, t, v, 3, h, w) → bytes (b, t, h, v·w, 3)"""
    if size is not None and (row.shape[-1], row.shape[-2]) != tuple(size):
        row = F.interpolate(row.flatten(0, 2), (size[1], size[0]), mode="nearest").unflatten(0, row.shape[:3])
    b, t, v, c, h, w = row.shape
    return (row.clamp(0, 1) * 255).to(torch.uint8).permute(0, 1, 4, 2, 5, 3).reshape(b, t, h, v * w, c)


def _suffix(generated: Tensor) -> str:
    return ".png" if generated.shape[1] == 1 else ".mp4"


EXPORTED = {
    "fps": "fps",
    "pts": "times",
    "camera_intrinsics": "intrinsics",
    "camera_transforms": "ego_from_camera",
    "ego_transforms": "world_from_ego",
    "image_size": "image_size",
    "crossview_mask": "crossview_mask",
}
"""OpenDWM's names of what a preview was told → ours. Pictures are left out: they lie beside, as a preview."""


def _export(batch: ClipBatch, path: Path) -> Path:
    """What a preview was told, under OpenDWM's names; such a file can stand as `batch` of a generation example's input."""
    content: dict[str, Any] = {
        name: value.tolist() for name, attribute in EXPORTED.items() if (value := getattr(batch, attribute)) is not None
    }
    content["clip_text"] = batch.captions
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def changed_run(run: Recipe, flags: dict[str, Any], source: str) -> Recipe:
    """A training run with the flags of `dwm generate` laid over it. Raises DwmError for a flag that such a run has no place for."""
    from dwm.config import resolve

    overrides = list(_overrides({key: value for key, value in flags.items() if value is not None}, source))
    return resolve(values=run, overrides=overrides)


PLACES: dict[str, Sequence[str]] = {
    "data": ("data.validation.0.path",),
    "frames": ("data.validation.0.frames",),
    "views": ("data.validation.0.views",),
    "size": ("data.size",),
    "steps": ("sampling.num_inference_steps",),
    "guidance": ("sampling.guidance_scale",),
    "seed": ("training.seed",),
    "weights": ("weights",),
    "base-model": ("base_model",),
    "device": ("device",),
}
"""Flags of `dwm generate` → settings of a training run."""


def _overrides(flags: dict[str, Any], source: str) -> Iterator[str]:
    for flag, value in flags.items():
        if flag in ("prompt", "force"):
            continue
        if flag not in PLACES:
            raise DwmError(
                f"--{flag}: {source} is a training run, whose held-out clips are generated; it takes "
                f"{', '.join('--' + name for name in (*PLACES, 'prompt'))}"
            )
        text = json.dumps(value) if isinstance(value, (list, tuple)) else str(value)
        yield from (f"{key}={text}" for key in PLACES[flag])
