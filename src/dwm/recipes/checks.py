"""Settings that only make sense together, checked before any weight is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dwm.errors import DwmError
from dwm.recipes.recipe import Recipe

AUTOENCODER_FACTOR = 8
"""Pixels of a side that one latent place stands for; the same in every base model that we know."""


def check(run: Recipe, source: str) -> None:
    """Raises DwmError, naming `source` and the keys, for the first settings that contradict each other."""
    for faults in CHECKS:
        for fault in faults(run):
            raise DwmError(f"{source}: {fault}")


def _views(run: Recipe) -> Iterator[str]:
    if not run.data.sources:
        yield "data.sources is empty; name at least one data set"
    for place, source in enumerate(run.data.sources):
        repeated = sorted({view for view in source.views if source.views.count(view) > 1})
        if not source.views:
            yield f"data.sources.{place}.views is empty; name at least one camera"
        if repeated and source.kind == "nuscenes":
            yield f"data.sources.{place}.views names {repeated[0]} twice"
        if len(source.views) != run.data.views:
            yield (
                f"data.sources.{place}.views has {len(source.views)} cameras, data.sources.0.views {run.data.views}; "
                "one network sees one number of views"
            )


def _size(run: Recipe) -> Iterator[str]:
    multiple = AUTOENCODER_FACTOR * run.network.patch_size
    width, height = run.data.size
    if width % multiple or height % multiple or min(width, height) <= 0:
        good = [max(multiple, round(edge / multiple) * multiple) for edge in (width, height)]
        yield (
            f"data.size is {width}×{height}, not a multiple of {multiple} (autoencoder {AUTOENCODER_FACTOR} × patch "
            f"{run.network.patch_size}); nearest: {good[0]}×{good[1]}"
        )
    tokens = max(width, height) // multiple
    if tokens > run.network.pos_embed_max_size:
        yield (
            f"data.size {width}×{height} has {tokens} tokens in a side, network.pos_embed_max_size "
            f"knows {run.network.pos_embed_max_size}"
        )


def _layout(run: Recipe) -> Iterator[str]:
    adapter, wanted = run.network.condition_image_adapter_config, run.conditions.layout_channels
    if adapter is not None and adapter.in_channels != wanted:
        yield (
            f"network.condition_image_adapter_config.in_channels is {adapter.in_channels}, but conditions.boxes and "
            f"conditions.map give {wanted} channels (3 each)"
        )
    if adapter is None and wanted:
        yield "conditions.boxes and conditions.map need network.condition_image_adapter_config; or set both to false"
    if adapter is not None:
        halvings = sum(adapter.is_downblocks)
        multiple = AUTOENCODER_FACTOR * run.network.patch_size
        if adapter.is_downblocks and adapter.downscale_factor * 2**halvings != multiple:
            yield (
                f"network.condition_image_adapter_config shrinks by {adapter.downscale_factor}·2^{halvings}, the tokens "
                f"lie {multiple} pixels apart; they must be equal"
            )


def _cameras(run: Recipe) -> Iterator[str]:
    kind, told = run.network.perspective_modeling_type, run.conditions
    width = run.network.projection_class_embeddings_input_dim or 0
    if kind == "implicit" and told.id_count * 256 != width:
        yield (
            f"network.projection_class_embeddings_input_dim is {width}, but conditions.added_time_ids = "
            f"{told.added_time_ids} gives {told.id_count} numbers: 256 × {told.id_count} = {told.id_count * 256}"
        )
    if kind == "explicit" and not told.explicit_view_modeling:
        yield "network.perspective_modeling_type is explicit, but conditions.explicit_view_modeling is false"
    if run.network.enable_crossview and run.data.views == 1:
        yield "network.enable_crossview is true, but a clip has one view; set it to false or name more data.sources views"


CHECKS: tuple[Callable[[Recipe], Iterator[str]], ...] = (_views, _size, _layout, _cameras)
