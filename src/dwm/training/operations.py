"""How much a micro-batch is: tokens and operations of the driving network, counted on shapes alone, once for each shape."""

from __future__ import annotations

from dataclasses import replace

import torch

from dwm.clip import ClipBatch
from dwm.networks import Conditions, CrossviewTemporalDiT, CrossviewTemporalUNet, DiTOptions
from dwm.training.dryrun import tally

PIXELS_PER_LATENT = 8


def tokens(network: CrossviewTemporalDiT | CrossviewTemporalUNet, shape: tuple[int, ...]) -> int:
    """Tokens of latents of `shape` (b, t, v, c, h, w); a U-Net's are its latents' places."""
    b, t, v, _, h, w = shape
    patch = network.options.patch_size if isinstance(network, CrossviewTemporalDiT) else 1
    return b * t * v * (h // patch) * (w // patch)


def operations(
    network: CrossviewTemporalDiT | CrossviewTemporalUNet, shape: tuple[int, ...], text: int, clips: ClipBatch
) -> float:
    """Products and sums of one pass forward and backward without recomputation, every block in use."""
    options = without_switches(network.options, shape) if isinstance(network, CrossviewTemporalDiT) else network.options
    if (adapter := options.condition_image_adapter_config) is not None:
        options = options.with_(condition_image_adapter_config=adapter.with_(gradient_checkpointing=False))
    with torch.device("meta"):
        twin = type(network)(options).train()
    layout = next((p for p in (clips.layout_boxes, clips.layout_map) if p is not None), None)
    told = _conditions(network, shape, text, None if layout is None else tuple(layout.shape[-2:]))
    sample, times = torch.empty(shape, device="meta"), torch.empty(shape[:3], device="meta")

    def step() -> None:
        prepared = twin.prepare(told, shape)
        if isinstance(twin, CrossviewTemporalUNet):
            # Its blenders always ask for flags; given after `prepare`, which would ask for their values.
            flags = torch.empty(shape[0], dtype=torch.bool, device="meta")
            prepared = replace(prepared, disable_crossview=flags, disable_temporal=flags)
        twin(sample, times, prepared).float().square().mean().backward()

    return float(tally(step).flops)


def without_switches(options: DiTOptions, shape: tuple[int, ...] | None = None) -> DiTOptions:
    """The same arithmetic without per-item switches, whose values a network without numbers cannot ask for; and without the
    blocks that latents of `shape`, of one frame or one view, have no use for."""
    _, t, v = (2, 2, 2) if shape is None else shape[:3]
    return options.with_(
        merge_strategy="learned",
        mixer_type="AlphaBlender",
        enable_temporal=options.enable_temporal and t > 1,
        enable_crossview=options.enable_crossview and v > 1,
        temporal_gradient_checkpointing=False,
        crossview_gradient_checkpointing=False,
    )


def _conditions(
    network: CrossviewTemporalDiT | CrossviewTemporalUNet,
    shape: tuple[int, ...],
    text: int,
    layout: tuple[int, int] | None,
) -> Conditions:
    b, t, v, _, h, w = shape
    options, adapter = network.options, network.options.condition_image_adapter_config

    def empty(*size: int) -> torch.Tensor:
        return torch.empty(b, t, v, *size, device="meta")

    layout = layout or (h * PIXELS_PER_LATENT, w * PIXELS_PER_LATENT)
    pictures = None if adapter is None else empty(adapter.in_channels, *layout)
    mask = torch.empty(b, v, v, dtype=torch.bool, device="meta")
    ids = options.projection_class_embeddings_input_dim or 0
    if not isinstance(network, CrossviewTemporalDiT):
        camera = empty(ids // options.addition_time_embed_dim) if ids else None
        return Conditions(
            text=empty(text, options.cross_attention_dim), layout=pictures, added_ids=camera, crossview_mask=mask
        )
    kind = network.options.perspective_modeling_type
    return Conditions(
        text=empty(text, options.joint_attention_dim),
        pooled=empty(options.pooled_projection_dim),
        layout=pictures,
        added_ids=empty(ids // 256) if kind == "implicit" else None,
        intrinsics_norm=empty(3, 3) if kind == "explicit" else None,
        ego0_from_camera=empty(4, 4) if kind == "explicit" else None,
        crossview_mask=mask,
    )
