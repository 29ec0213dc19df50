"""Settings that only make sense together, checked before any weight is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dwm.config.recipe import Recipe
from dwm.data.open import USUAL, is_drawn, repeats_views
from dwm.errors import DwmError

AUTOENCODER_FACTOR = 8
"""Pixels of a side that one latent place stands for; the same in every base model that we know."""


def check(run: Recipe, source: str) -> None:
    """Raises DwmError, naming `source` and the keys, for the first settings that contradict each other."""
    for faults in CHECKS:
        for fault in faults(run):
            raise DwmError(f"{source}: {fault}")


def _sets(run: Recipe) -> Iterator[str]:
    for group in ("train", "validation"):
        for index, source in enumerate(getattr(run.data, group)):
            where = f"data.{group}.{index}"
            repeated = sorted({view for view in source.views if source.views.count(view) > 1})
            count = source.clips_as_views or len(source.views)
            if not count:
                yield f"{where}.views is empty; name at least one camera"
            if repeated and not repeats_views(source.kind):
                yield f"{where}.views names {repeated[0]} twice"
            if count != run.data.views and group == "validation":
                yield f"{where}.views has {count} cameras, the first set {run.data.views}; previews show one number of views"
            if source.path is not None and is_drawn(source.kind):
                yield (
                    f"{where}.path is {source.path}, but {where}.kind is {source.kind}, which is drawn; set the kind to {USUAL}"
                )
            if source.clips_as_views is not None and len(source.rates) != 1:
                yield f"{where}.rates has {len(source.rates)} entries; clips that stand as views need exactly one"
            if source.crossview_mask is not None and len(source.crossview_mask) != count:
                yield f"{where}.crossview_mask is for {len(source.crossview_mask)} views, but there are {count}"
            if source.frames != run.data.frames and group == "train":
                yield f"{where}.frames is {source.frames}, data.train.0.frames {run.data.frames}; they must be equal"


def _size(run: Recipe) -> Iterator[str]:
    patch = run.network.latent_multiple
    multiple = AUTOENCODER_FACTOR * patch
    for name, (width, height) in _sizes(run):
        if width % multiple or height % multiple or min(width, height) <= 0:
            good = [max(multiple, round(edge / multiple) * multiple) for edge in (width, height)]
            yield (
                f"{name} is {width}×{height}, not a multiple of {multiple} (autoencoder {AUTOENCODER_FACTOR} × patch "
                f"{patch}); nearest: {good[0]}×{good[1]}"
            )
        largest = run.network.largest_side
        if largest is not None and max(width, height) // multiple > largest:
            tokens = max(width, height) // multiple
            yield f"{name} {width}×{height} has {tokens} tokens in a side, network.pos_embed_max_size knows {largest}"


def _sizes(run: Recipe) -> Iterator[tuple[str, tuple[int, int]]]:
    yield "data.size", run.data.size
    for index, mix in enumerate(run.data.mix):
        yield f"data.mix.{index}.size", mix.size


def _layout(run: Recipe) -> Iterator[str]:
    adapter, channels = getattr(run.network, "condition_image_adapter_config", None), run.conditions.layout_channels
    if adapter is not None and adapter.in_channels != channels:
        yield (
            f"network.condition_image_adapter_config.in_channels is {adapter.in_channels}, but conditions.boxes and "
            f"conditions.map give {channels} channels (3 each)"
        )
    if adapter is None and channels:
        yield "conditions.boxes and conditions.map need network.condition_image_adapter_config; or set both to false"
    if adapter is not None and run.network.tokens_follow_layout:
        halvings = sum(adapter.is_downblocks)
        multiple = AUTOENCODER_FACTOR * run.network.latent_multiple
        if adapter.downscale_factor * 2**halvings != multiple:
            yield (
                f"network.condition_image_adapter_config shrinks by {adapter.downscale_factor}·2^{halvings}, the tokens "
                f"lie {multiple} pixels apart; they must be equal"
            )


def _cameras(run: Recipe) -> Iterator[str]:
    options, network = run.conditions, run.network
    width = getattr(network, "projection_class_embeddings_input_dim", None) or 0
    kind = network.perspective
    if kind == "implicit" and options.id_count * 256 != width:
        yield (
            f"network.projection_class_embeddings_input_dim is {width}, but conditions.added_time_ids = "
            f"{options.added_time_ids} gives {options.id_count} numbers: 256 × {options.id_count} = {options.id_count * 256}"
        )
    if kind == "explicit" and not options.explicit_view_modeling:
        yield "network.perspective_modeling_type is explicit, but conditions.explicit_view_modeling is false"
    if getattr(network, "enable_crossview", False) and run.data.views == 1:
        yield "network.enable_crossview is true, but a clip has one view; set it to false or name more data.train.0.views"


def _frames(run: Recipe) -> Iterator[str]:
    batch, objective = run.training.batch, run.training.objective
    reference = objective.reference_frames
    most = reference if isinstance(reference, int) else max(reference, default=0)
    longest = max(batch.lengths)
    if run.data.train and longest > run.data.frames:
        key = "training.batch.frames" if longest == batch.frames else "frames in training.batch.mix"
        yield f"{key} is {longest}, but clips have data.train.0.frames = {run.data.frames}"
    shortest = min(batch.lengths)
    if run.data.train and objective.style == "ctsd" and most >= shortest and batch.lengths != (1,):
        yield f"training.objective.reference_frames is {most}, which leaves nothing to predict of {shortest} frames"
    for stage in run.driving_stages():
        if stage.batch.mix and not run.has_own_base:
            yield f"{stage.name}: batch.mix is for runs that train their autoencoder; give data.mix instead"
        if stage.batch.mix and run.data.mix:
            yield f"{stage.name}: batch.mix and data.mix both share out the clips; give one of them"
        for index, shape in enumerate(stage.batch.mix):
            if run.data.train and shape.views is not None and shape.views > run.data.views:
                yield f"{stage.name}: batch.mix.{index}.views is {shape.views}, but clips have {run.data.views} views"
    for index, mix in enumerate(run.data.mix):
        if run.data.train and mix.frames > run.data.frames:
            yield f"data.mix.{index}.frames is {mix.frames}, but clips have data.train.0.frames = {run.data.frames}"
    window, references = run.preview.window or run.data.frames, run.sampling.reference_frames
    if run.sampling.style == "windows" and references >= window > 1:
        yield f"sampling.reference_frames is {references}, which leaves nothing to generate in a window of {window}"
    if run.sampling.style != "windows" and run.sampling.num_inference_steps % max(
        1, window - run.sampling.finished_frames
    ):
        yield (
            f"sampling.num_inference_steps is {run.sampling.num_inference_steps}, not a multiple of the "
            f"{window - run.sampling.finished_frames} frames that wait in the queue"
        )


def _distillation(run: Recipe) -> Iterator[str]:
    if run.training.distillation is None:
        return
    if run.weights is None:
        yield "training.distillation has a network learn from another; set weights to those that teach"
    if run.network.process != "flow" or run.compatibility != "ours":
        yield "training.distillation is for networks of a flow, sampled our way (compatibility ours); set it to null"
    if any(stage.batch.train_text for stage in run.driving_stages()):
        yield "training.distillation leaves text encoders as they are; set batch.train_text to false"


CHECKS: tuple[Callable[[Recipe], Iterator[str]], ...] = (
    _sets,
    _size,
    _layout,
    _cameras,
    _frames,
    _distillation,
)
