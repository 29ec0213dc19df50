"""The tiny twin of a recipe: the same run on the town, with a small network and a few steps, for two cores and no files.

Derived, never written out: blocks, tasks, patterns, mixes and schedules stay what they are; only sizes and counts shrink.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dwm.base_models.options import TinyOptions
from dwm.config.data import DataOptions, SourceOptions
from dwm.config.recipe import Network, Recipe, TrainingOptions
from dwm.config.registry import variant
from dwm.conventions import NUSCENES_VIEWS
from dwm.errors import DwmError
from dwm.networks import AdapterOptions, DiTOptions, UNetOptions

SUFFIX = "-tiny"
BASE = "town"
"""The embedded weights' autoencoder and text encoders, which know the town."""
SIZES = ((160, 96), (128, 80), (96, 64))
LAYERS, HEADS, HEAD_WIDTH = 4, 2, 32
WIDTHS = (32, 64)
STEPS = 4
CLIPS = 8
FRAMES = 4
HELD_OUT_FRAMES = 6
VIDEO_FRAMES, HELD_OUT_VIDEO_FRAMES = 9, 17


@variant(SUFFIX)
def tiny(run: Recipe) -> Recipe:
    """The twin of a run. Raises DwmError for one that makes its own base model, which is small already."""
    if run.base_model is None:
        raise DwmError(f"{run.name or 'config'}: makes its own base model and is small already; it has no tiny twin")
    video, ddpm = run.autoencoder_folder is not None, run.network.process == "ddpm"
    own = video or ddpm
    return run.with_(
        name=f"{run.name}{SUFFIX}",
        # The town's autoencoder is one of pictures, its scheduler the flow's: others are made, untrained.
        base_model=None if own else BASE,
        tiny=_own_base(video, ddpm) if own else run.tiny,
        autoencoder_folder=None,
        weights=None,
        text_dtype="float32",
        data=_data(run.data, video),
        network=_network(run.network),
        training=_training(run.training, video),
        sampling=run.sampling.with_(
            num_inference_steps=4,
            reference_frames=_fewer(run.sampling.reference_frames, video),
        ),
        preview=run.preview.with_(
            every=0,
            size=None,
            window=None if run.preview.window is None else (VIDEO_FRAMES if video else FRAMES),
            score_clips=2,
        ),
    )


def _own_base(video: bool, ddpm: bool) -> TinyOptions:
    family = "sd21" if ddpm else "sd3"
    return TinyOptions(family=family, video=video, autoencoder_widths=(8, 8, 16, 16), norm_groups=4)


def _data(data: DataOptions, video: bool) -> DataOptions:
    frames, held_out = (VIDEO_FRAMES, HELD_OUT_VIDEO_FRAMES) if video else (FRAMES, HELD_OUT_FRAMES)
    if data.frames == 1:
        frames = held_out = 1
    sizes = dict(zip((mix.size for mix in data.mix), SIZES, strict=False))
    return data.with_(
        train=tuple(_town(source, index, frames) for index, source in enumerate(data.train)),
        validation=tuple(_town(source, index, held_out) for index, source in enumerate(data.validation)),
        size=SIZES[0],
        mix=tuple(
            mix.with_(size=sizes[mix.size], frames=frames, clips=min(mix.clips or 1, index + 1))
            for index, mix in enumerate(data.mix)
        ),
        clips=CLIPS,
        workers=0,
    )


def _town(source: SourceOptions, index: int, frames: int) -> SourceOptions:
    """A town of its own for each set, with as many views, which see each other as the set's do."""
    count = source.clips_as_views or len(source.views)
    return SourceOptions(
        kind="town",
        seed=1000 + index,
        split=source.split,
        views=NUSCENES_VIEWS[:count],
        frames=frames,
        rates=tuple((rate or 10.0, 0.5) for rate, _ in source.rates),
        check_times=False,
        words=source.words,
        made_up_layout=source.made_up_layout,
        uncalibrated=source.uncalibrated,
        crossview_mask=source.crossview_mask,
    )


def _training(training: TrainingOptions, video: bool) -> TrainingOptions:
    objective, batch = training.objective, training.batch
    reference = objective.reference_frames
    fewer = (
        _fewer(reference, video)
        if isinstance(reference, int)
        else {_fewer(n, video): share for n, share in reference.items()}
    )
    frames = 1 if batch.frames == 1 else VIDEO_FRAMES if video else FRAMES
    return training.with_(
        steps=STEPS,
        # Two micro-batches a step can be shared by two processes.
        accumulate=2,
        log_every=1,
        save_every=STEPS // 2,
        batch=batch.with_(clips=1, frames=frames),
        objective=objective.with_(reference_frames=fewer),
    )


def _fewer(frames: int, video: bool) -> int:
    return min(frames, 1 if video else FRAMES - 1)


def _network(network: Network) -> Network:
    """The same kinds of blocks in the same places of a network of four blocks, or of two levels."""
    twin = TWINS.get(type(network))
    if twin is None:
        raise DwmError(f"network: a {type(network).__name__} has no tiny twin")
    return twin(network)


def _transformer(network: DiTOptions) -> DiTOptions:
    base, width = TinyOptions(), HEADS * HEAD_WIDTH
    channels = base.latent_channels

    def first(layers: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(layer for layer in layers if layer < LAYERS)

    return network.with_(
        num_layers=LAYERS,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_WIDTH,
        caption_projection_dim=width,
        sample_size=24,
        in_channels=channels,
        out_channels=channels,
        joint_attention_dim=base.t5_width,
        pooled_projection_dim=2 * base.clip_width,
        pos_embed_max_size=12,
        dual_attention_layers=first(network.dual_attention_layers)[: LAYERS // 2],
        condition_image_adapter_config=_adapter(
            network.condition_image_adapter_config, (width,) * LAYERS, (True, *(False,) * (LAYERS - 1))
        ),
        crossview_block_layers=first(network.crossview_block_layers),
        temporal_block_layers=first(network.temporal_block_layers),
    )


def _unet(network: UNetOptions) -> UNetOptions:
    base = TinyOptions()
    return network.with_(
        in_channels=base.latent_channels,
        out_channels=base.latent_channels,
        down_block_types=("CrossAttnDownBlockCrossviewTemporal", "DownBlockCrossviewTemporal"),
        up_block_types=("UpBlockCrossviewTemporal", "CrossAttnUpBlockCrossviewTemporal"),
        block_out_channels=WIDTHS,
        num_attention_heads=(1, 2),
        layers_per_block=1,
        cross_attention_dim=base.clip_width,
        condition_image_adapter_config=_adapter(
            network.condition_image_adapter_config, (WIDTHS[0], *WIDTHS), (False, True, False)
        ),
    )


TWINS: dict[type[Network], Callable[[Any], Network]] = {DiTOptions: _transformer, UNetOptions: _unet}


def _adapter(
    adapter: AdapterOptions | None, widths: tuple[int, ...], halving: tuple[bool, ...]
) -> AdapterOptions | None:
    if adapter is None:
        return None
    return adapter.with_(channels=widths, is_downblocks=halving, num_res_blocks=1)
