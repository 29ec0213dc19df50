"""`DrivingPipeline`: a clip's cameras, boxes, map and words → surround-view driving video. The door of this room."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from dwm.base_models import BaseModel
from dwm.base_models.absent import RememberedText
from dwm.base_models.base import load_text
from dwm.checkpoints import folder as folders
from dwm.checkpoints import locations
from dwm.checkpoints.card import Size, WeightsCard
from dwm.checkpoints.tensor_files import read_tensors
from dwm.clip import Caption, Clip
from dwm.clip_batch import ClipBatch
from dwm.data import prepare
from dwm.devices import autocast, compile_blocks, default_dtype, pick_device
from dwm.diffusion import Solver, process_of
from dwm.errors import DwmError
from dwm.generation.conventions import CONVENTIONS
from dwm.generation.offload import Offload
from dwm.generation.processes import Group
from dwm.generation.prompts import Prompt, with_changed_captions, with_prompts
from dwm.generation.rollout import roll_out, windows
from dwm.generation.sampler import Sampler, require_numbers
from dwm.generation.shortcuts import EXACT, Shortcuts
from dwm.generation.streaming import Stream
from dwm.report import Video

OUTPUTS = ("video", "pt", "np", "pil", "latent")


class DrivingPipeline:
    """Generates video of several cameras. Call it with a clip; the same seed gives the same video on one machine.

    network: a driving network with `prepare` and `forward`; base: what stands around it; card: what the weights saw.
    """

    def __init__(self, network: nn.Module, base: BaseModel, card: WeightsCard):
        self.network, self.base, self.card = network, base, card
        self.conventions = CONVENTIONS[card.compatibility]
        self.compute_dtype = torch.float32
        self._files: Path | None = None
        self._offload: Offload | None = None
        self._group: Group | None = None

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        base_model: str | Path | None = None,
        torch_dtype: torch.dtype | Literal["auto"] | None = None,
        t5: bool = True,
        piece: int | None = None,
        device: torch.device | str = "cpu",
        words: Collection[str] | None = None,
        offload: bool = False,
        fast: bool = False,
    ) -> DrivingPipeline:
        """Loads a weights folder, or the package's own by the name "town", onto a device.

        `base_model`: folder of the base model where it is not the same one; `torch_dtype`: what weights are held and computed
        in, "auto" for what is fastest on `device`, float32 where nothing is said; `t5=False` leaves the largest text encoder
        out; `piece`: pictures that the autoencoder takes at once (0: all, None: one on a CPU, elsewhere what fits).
        `words`: what will be said; the text encoders are then read one after another, before the network, and are gone once
        these are encoded (they are read again for other words). `offload`: as `enable_model_cpu_offload`. `fast`: the network
        that was distilled for few steps, which the card then speaks of alone.
        Raises DwmError for what is missing or does not fit.
        """
        target = torch.device(device)
        dtype = default_dtype(target) if torch_dtype == "auto" else torch_dtype or torch.float32
        folder = locations.resolve(path)
        card = folders.read_card(folder)
        card, part = (card.fast_card(), locations.FAST) if fast else (card.with_(fast=None), locations.NETWORK)
        beside = (folder / "vae").is_dir()
        source = Path(base_model) if base_model is not None else folder if beside else Path(card.base_model or folder)
        base = BaseModel.load(
            source,
            text=card.conditions.text,
            t5=t5,
            autoencoder_folder=card.autoencoder_folder,
            text_dtype=dtype,
            piece=piece,
            keep_text=words is None,
        )
        if words is not None and base.text is not None:
            base.text.to(target).encode(sorted({"", *words}))
        host = torch.device("cpu") if offload else target
        pipe = cls(folders.load_network(folder, dtype, host, part), base, card)
        pipe._files = folder / part
        return pipe.enable_model_cpu_offload(target) if offload else pipe.to(target)

    def save_pretrained(
        self, path: str | Path, torch_dtype: torch.dtype = torch.float16, with_base: bool = True
    ) -> None:
        """Writes a weights folder; without its base the card names where that was loaded from."""
        card = self.card if with_base else self.card.with_(base_model=str(self.base.folder))
        folders.write_folder(Path(path), card, self.network, self.base if with_base else None, torch_dtype)

    def to(
        self, *target: torch.device | torch.dtype | str, compute_dtype: torch.dtype | None = None
    ) -> DrivingPipeline:
        """Moves everything to a device, or holds and computes it in a dtype, or both, as in diffusers: `pipe.to("cuda")`,
        `pipe.to(torch.bfloat16)`, `pipe.to("cuda", torch.float16)`.

        Back in a wider dtype, weights that came from files have all of their digits again. The autoencoder stays in float32,
        which costs a hundredth of the weights. `compute_dtype`: of the network's matrix products alone, weights as they are.
        """
        dtypes = [one for one in target if isinstance(one, torch.dtype)]
        devices = [one for one in target if not isinstance(one, torch.dtype)]
        if len(dtypes) > 1 or len(devices) > 1 or any(not dtype.is_floating_point for dtype in dtypes):
            raise ValueError(f"to{target}: give a device, a dtype of fractions, or one of each")
        self.compute_dtype = compute_dtype or self.compute_dtype
        waits_for = self._stay()
        for dtype in dtypes:
            self._hold_in(dtype)
        for device in devices:
            self.network.to(device)
            self.base.to(device)
        return self if waits_for is None or devices else self.enable_model_cpu_offload(waits_for)

    def enable_model_cpu_offload(self, device: torch.device | str | None = None) -> DrivingPipeline:
        """Leaves all weights in the machine's memory; each text encoder, the network and the autoencoder is on the device (by
        default the accelerator that is there) only while it works. `to` a device undoes it. Raises DwmError for a processor.
        """
        target = pick_device() if device is None else torch.device(device)
        if target.type == "cpu":
            raise DwmError(
                "offload moves weights between the machine's memory and a device, and this is a processor: leave it out"
            )
        self._stay()
        self._offload = Offload.of(target, self.network, self.base)
        return self

    def compile(self) -> DrivingPipeline:
        """Compiles the network's blocks when they first run, which takes a minute or more; later steps are faster.

        Where that fails, a line says so and they run as they are.
        """
        compile_blocks(self.network.blocks())
        return self

    def enable_parallelism(self) -> DrivingPipeline:
        """Shares each call among the processes of torch.distributed's group, which all must make it with the same arguments:
        the halves of guidance on two, clips on the rest. All get the whole result, that of one process. Callbacks see their
        process's clips. Raises DwmError without a group, and where a call's clips are too few."""
        self._group = Group()
        return self

    def _stay(self) -> torch.device | None:
        """Ends the moving of weights to and fro; gives the device that they were moved to, None where they were not."""
        if self._offload is None:
            return None
        device, self._offload = self._offload.device, self._offload.end(self.base)
        return device

    def _hold_in(self, dtype: torch.dtype) -> None:
        before, self.compute_dtype = self.dtype, torch.float32
        files = self._files if dtype.itemsize > before.itemsize else None
        if files is not None:
            folders.restore(self.network, read_tensors(files), dtype)
        self.network.to(dtype)
        if self.base.text is not None:
            if files is not None and not isinstance(self.base.text, RememberedText):
                t5 = getattr(self.base.text, "t5", None) is not None
                folders.restore(self.base.text, load_text(self.base.folder, t5, dtype).state_dict(), dtype)
            # The plain conversion: the libraries' own warns of what they were loaded in.
            nn.Module.to(self.base.text, dtype)

    @property
    def dtype(self) -> torch.dtype:
        """What the network's weights are held in."""
        return next(self.network.parameters()).dtype

    @property
    def computes_in(self) -> str:
        """The name of what matrix products are computed in."""
        dtype = self.dtype if self.compute_dtype == torch.float32 else self.compute_dtype
        return str(dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        return self._offload.device if self._offload is not None else next(self.network.parameters()).device

    @torch.no_grad()
    def __call__(
        self,
        clip: Clip | ClipBatch,
        prompt: Prompt = None,
        negative_prompt: str = "",
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        reference_frames: int = 0,
        size: Size | None = None,
        force: bool = False,
        callback_on_step_end: Callable[[DrivingPipeline, int, float, dict[str, Any]], dict[str, Any] | None]
        | None = None,
        output_type: str = "video",
        shortcuts: Shortcuts = EXACT,
    ) -> Any:
        """The video of `clip`, all of its frames and views.

        prompt: None keeps the clip's captions; a string stands for all of them, a list for one of each view, a list of lists
        for each frame and view; a `Caption` changes only its non-empty parts (of a `Clip`). reference_frames: how many of the
        clip's own first pictures are given (they come back as the autoencoder shows them). size: (width, height). seed
        defaults to 0. force: try what the weights never saw, missing
        conditions too. callback_on_step_end gets (pipe, step, time, {"latents"}) and may
        return other latents. output_type: "video", "pt" (b t v 3 h w), "np", "pil" or "latent" (a single window's). shortcuts:
        what is computed less, for pictures that are almost the same.
        """
        if output_type not in OUTPUTS:
            raise DwmError(f"output_type {output_type!r} is not known; known: {', '.join(OUTPUTS)}")
        names = clip.views if isinstance(clip, Clip) else self.card.views[: clip.shape[2]]
        batch, size = self._batch(clip, prompt, size, reference_frames)
        if not force:
            self.card.check(size, batch.shape[1], batch.shape[2], clip.views if isinstance(clip, Clip) else ())
        if self.conventions.checked and not force:
            self._check_conditions(batch)
        self._check_references(batch, reference_frames, size)
        generator = generator or torch.Generator().manual_seed(seed or 0)
        sampler = self.sampler(size, generator, num_inference_steps, guidance_scale, negative_prompt, shortcuts)
        if self._group is not None:
            sampler.processes = self._group.processes(batch.shape[0], sampler.guidance is not None)
        batch = sampler.processes.share(batch)
        if callback_on_step_end is not None:
            sampler.on_step = self._step_callback(callback_on_step_end, sampler.solver.times.tolist())
        sampler = sampler.remember(batch)
        if output_type == "latent":
            return sampler.processes.whole(self._latents(sampler, batch, reference_frames))
        pictures = sampler.processes.whole(self._pictures(sampler, batch, reference_frames))
        if pictures.device.type != "cpu":
            require_numbers(pictures, "sampling")  # nobody looked at them on the way: see `Sampler.decode`
        return _as_output_type(pictures, float(batch.fps[0]), names, output_type)

    def sampler(
        self,
        size: Size,
        generator: torch.Generator,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        shortcuts: Shortcuts = EXACT,
    ) -> Sampler:
        """The parts and settings of one generation; what is None is as the weights like it."""
        defaults = self.card.sampling
        guidance = defaults.guidance_scale if guidance_scale is None else guidance_scale
        if self.base.autoencoder is None:
            raise ValueError("the base model was loaded without its autoencoder")
        self._check_side(size, self.base.autoencoder.factor)
        return Sampler(
            network=self.network,
            autoencoder=self.base.autoencoder,
            text=self.base.text,
            options=self.card.conditions,
            solver=self.solver(num_inference_steps or defaults.num_inference_steps),
            generator=generator,
            size=size,
            guidance=None if guidance == 1 else guidance,
            negative_prompt=negative_prompt,
            autocast=partial(autocast, self.device, self.compute_dtype),
            offload=self._offload,
            by_itself=self.conventions.by_itself,
            shortcuts=shortcuts,
        )

    def conditions(self, clip: Clip, prompt: Prompt = None, size: Size | None = None) -> ClipBatch:
        """What the weights are told of a clip, on their device: layouts drawn, words chosen, no photographs."""
        return self._batch(clip, prompt, size, 0)[0]

    def solver(self, steps: int) -> Solver:
        """The solver of these weights' scheduler with `steps` steps. Raises DwmError for one that the weights cannot use."""
        sampling, process = (
            self.card.sampling,
            process_of(self.card.prediction, self.base.scheduler, self.conventions.double_shift),
        )
        if sampling.solver != "usual" and sampling.style != "windows":
            raise DwmError(f"{self.card.name}: sampling.solver {sampling.solver} is for windows; set it to usual")
        try:
            return process.solver(steps, sampling.solver, self.device)
        except DwmError as error:
            raise DwmError(f"{self.card.name}: {error}") from None

    def _pictures(self, sampler: Sampler, batch: ClipBatch, references: int) -> Tensor:
        """(b, t, v, 3, H, W): one window, or several where the clip is longer."""
        frames, sampling = batch.shape[1], self.card.sampling
        length = min(self.card.window or frames, frames)
        if sampling.style != "windows" and length > 1:
            return torch.stack(list(self._queued(sampler, batch, length, references)), 1)
        overlap = min(sampling.reference_frames, length - 1)
        return roll_out(sampler, batch, length, overlap, references, self.conventions.whole)

    def _queued(self, sampler: Sampler, batch: ClipBatch, length: int, references: int) -> Iterator[Tensor]:
        """Frames of diffusion forcing as they are finished."""
        sampling = self.card.sampling
        if sampling.style == "stream" and not references:
            return Stream(sampler, length, sampling.text_every, self.conventions.advance).run(batch)
        return self.conventions.queue(sampler, batch, length, sampling.finished_frames, references)

    def _latents(self, sampler: Sampler, batch: ClipBatch, references: int) -> Tensor:
        if self.card.window is not None and batch.shape[1] > self.card.window:
            raise DwmError(f"output_type latent: {batch.shape[1]} frames need several windows of {self.card.window}")
        latents = sampler.window(batch, sampler.reference_latents(batch, references))
        require_numbers(latents, "sampling")
        return latents

    def _batch(
        self, clip: Clip | ClipBatch, prompt: Prompt, size: Size | None, references: int
    ) -> tuple[ClipBatch, Size]:
        """The clip as a batch on the device with its words replaced, and the size of its pictures."""
        if isinstance(clip, Clip):
            if isinstance(prompt, Caption):
                clip, prompt = with_changed_captions(clip, prompt), None
            if not self.conventions.all_boxes:
                clip = _without_unknown_boxes(clip)
            if size is None:
                size = self.card.sizes[0] if self.card.sizes else clip.rig.size_of(0)
            words = self.card.captions.with_(reorder=False, drop_rates={})
            batch = prepare(clip, size, self.card.layout, pictures=references > 0, captions=words)
        else:
            if isinstance(prompt, Caption):
                raise DwmError(
                    "a Caption changes parts of a Clip's captions; a batch has whole texts: give a string or lists"
                )
            batch, size = clip, self._batch_size(clip, size)
        return with_prompts(batch, prompt).to(self.device), size

    def _batch_size(self, batch: ClipBatch, size: Size | None) -> Size:
        for pictures in (batch.layout_boxes, batch.layout_map, batch.frames):
            if pictures is not None:
                own = (pictures.shape[-1], pictures.shape[-2])
                if size is not None and size != own:
                    raise DwmError(f"size {size[0]}x{size[1]}: the batch's pictures are {own[0]}x{own[1]} already")
                return own
        if size is None and not self.card.sizes:
            raise DwmError("the batch has no pictures to take a size from; give size=(width, height)")
        return size or self.card.sizes[0]

    def _check_conditions(self, batch: ClipBatch) -> None:
        """Raises DwmError where a layout is missing that the weights never were without; of missing words it warns."""
        values = {"text": batch.captions, "boxes": batch.layout_boxes, "map": batch.layout_map}
        lacking = self.card.lacking([name for name, value in values.items() if value is not None])
        named = self.card.name or "the weights"
        if layouts := [name for name in lacking if name != "text"]:
            raise DwmError(
                f"the clip has no {' and no '.join(layouts)}, which {named} were never without: the video would be noise; "
                "give a clip that has them, or --force (force=True) to try"
            )
        if lacking:
            warnings.warn(
                f"the clip has no captions and no prompt was given: {named} are told empty words, which they never saw; give "
                "a prompt",
                stacklevel=3,
            )

    def _check_side(self, size: Size, factor: int) -> None:
        """Raises DwmError for pictures that are larger than the network's table of positions, which nothing can force."""
        options: Any = self.network.options
        multiple = factor * options.latent_multiple
        if options.largest_side is not None and max(size) // multiple > options.largest_side:
            named, most = self.card.name or "the weights", options.largest_side * multiple
            raise DwmError(f"size {size[0]}x{size[1]}: {named} have positions for at most {most} pixels in a side")

    def _check_references(self, batch: ClipBatch, references: int, size: Size) -> None:
        window = min(self.card.window or batch.shape[1], batch.shape[1])
        windows(batch.shape[1], window, min(self.card.sampling.reference_frames, window - 1))
        if not 0 <= references < window:
            raise DwmError(
                f"reference_frames {references} leaves nothing to generate of {window} frames; give 0 to {window - 1}"
            )
        if not references:
            return
        if batch.frames is None:
            raise DwmError(f"reference_frames {references}: the clip has no pictures to take them from")
        if (shape := tuple(batch.frames.shape[-2:])) != (size[1], size[0]):
            raise DwmError(f"the given pictures are {shape} (height, width), not {size[::-1]}")

    def _step_callback(self, callback: Callable, times: Sequence[float]) -> Callable[[int, Tensor], Tensor]:
        def on_step(index: int, latents: Tensor) -> Tensor:
            answer = callback(self, index, times[min(index, len(times) - 1)], {"latents": latents})
            return latents if answer is None else answer.get("latents", latents)

        return on_step


def _without_unknown_boxes(clip: Clip) -> Clip:
    """A clip of which no picture was annotated has no boxes, which is something else than an empty street."""
    annotated = clip.boxes is not None and any(boxes is not None for row in clip.boxes for boxes in row)
    return clip if annotated else replace(clip, boxes=None)


def _as_output_type(pictures: Tensor, fps: float, names: Sequence[str], output_type: str) -> Any:
    if output_type == "pt":
        return pictures
    if output_type == "video":
        return Video(pictures, fps, tuple(names))
    array = pictures.cpu().numpy()
    if output_type == "np":
        return array.transpose(0, 1, 2, 4, 5, 3)
    to_bytes = (array.transpose(0, 1, 2, 4, 5, 3) * 255).round().astype("uint8")
    return [[[Image.fromarray(view) for view in frame] for frame in clip] for clip in to_bytes]
