"""OpenDWM's published weights by the beginnings of their file names, as runs: which network, conditions and sampling they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from dwm.errors import DwmError
from dwm.networks import AdapterOptions, UNetOptions
from dwm.recipes import Recipe, find
from dwm.recipes.sd3 import LAYOUT

VIDEO_AUTOENCODER = "base_model/CogVideoX-2b"
GREY = 0.1255
"""What a layout picture that is not given looks like to the later weights."""
XS = 1280
"""Width of the small transformer."""
TRAINED = LAYOUT.with_(gradient_checkpointing=True)
UNET_LAYOUT = AdapterOptions(
    in_channels=6,
    channels=(320, 320, 640, 1280, 1280),
    is_downblocks=(False, True, True, True, False),
    use_zero_convs=True,
    gradient_checkpointing=True,
)


def known_run(path: Path, name: str | None = None) -> Recipe:
    """The run whose weights these are, by the file's name (or `name`). Raises DwmError where the name is not a published one."""
    wanted = name or path.stem
    for start in sorted(KNOWN, key=len, reverse=True):
        if wanted.startswith(start):
            run = KNOWN[start]()
            network = run.network
            if not isinstance(network, UNetOptions):
                network = network.with_(compatibility="reference")
            return run.with_(name=wanted, compatibility="reference", weights=str(path), network=network)
    raise DwmError(
        f"{path}: which network is it of? Its file does not say; give the run's config with -c, or a name with --as "
        f"({', '.join(KNOWN)})"
    )


def _text35() -> Recipe:
    run = find("sd35-text-nuscenes")
    return run.with_(preview=run.preview.with_(window=19))


def _layout35() -> Recipe:
    run = _text35()
    return run.with_(
        conditions=run.conditions.with_(boxes=True, map=True),
        network=run.network.with_(condition_image_adapter_config=TRAINED),
    )


def _layout35_many_sets() -> Recipe:
    run = _layout35()
    return run.with_(
        conditions=run.conditions.with_(uncondition_image_color=GREY),
        network=run.network.with_(temporal_attention_type="pointwise"),
    )


def _forcing35() -> Recipe:
    run = _layout35_many_sets()
    return run.with_(
        conditions=run.conditions.with_(added_time_ids="fps_camera_transforms_action"),
        network=run.network.with_(projection_class_embeddings_input_dim=3328),
        sampling=run.sampling.with_(style="forcing", num_inference_steps=32, guidance_scale=2, reference_frames=15),
        preview=run.preview.with_(window=16),
    )


def _video_autoencoder35() -> Recipe:
    run = _layout35_many_sets()
    return run.with_(
        autoencoder_folder=VIDEO_AUTOENCODER,
        sampling=run.sampling.with_(reference_frames=1),
        preview=run.preview.with_(window=17),
    )


def _pictures35() -> Recipe:
    run = _layout35()
    return run.with_(
        conditions=run.conditions.with_(disable_temporal=True),
        network=run.network.with_(enable_temporal=False, temporal_attention_type=None, temporal_block_layers=()),
        sampling=run.sampling.with_(reference_frames=0),
        preview=run.preview.with_(window=None),
    )


def _small35() -> Recipe:
    run = _layout35_many_sets()
    network = run.network.with_(
        num_layers=12,
        num_attention_heads=XS // 64,
        caption_projection_dim=XS,
        dual_attention_layers=tuple(range(12)),
        crossview_block_layers=tuple(range(1, 12, 2)),
        temporal_block_layers=tuple(range(12)),
        condition_image_adapter_config=TRAINED.with_(channels=(XS,) * 6),
    )
    return run.with_(
        network=network,
        sampling=run.sampling.with_(style="forcing", num_inference_steps=30, guidance_scale=2, reference_frames=5),
        preview=run.preview.with_(window=6),
    )


def _unimlvg() -> Recipe:
    run = find("unimlvg-stage3")
    return run.with_(
        network=run.network.with_(condition_image_adapter_config=TRAINED), preview=run.preview.with_(window=19)
    )


def _unimlvg_text() -> Recipe:
    run = _unimlvg()
    return run.with_(
        conditions=run.conditions.with_(boxes=False, map=False),
        network=run.network.with_(condition_image_adapter_config=None),
    )


def _text21() -> Recipe:
    run = find("sd21-text-nuscenes")
    return run.with_(preview=run.preview.with_(window=12))


def _layout21() -> Recipe:
    run = _text21()
    return run.with_(
        conditions=run.conditions.with_(boxes=True, map=True),
        network=run.network.with_(condition_image_adapter_config=UNET_LAYOUT),
        preview=run.preview.with_(window=15),
    )


def _pictures21() -> Recipe:
    run = _layout21()
    return run.with_(
        conditions=run.conditions.with_(disable_temporal=True),
        network=run.network.with_(enable_temporal=False, enable_rowwise_temporal=False),
        sampling=run.sampling.with_(reference_frames=0),
        preview=run.preview.with_(window=None),
    )


KNOWN: Mapping[str, Callable[[], Recipe]] = {
    "ctsd_35_tirda_nwao": _text35,
    "ctsd_35_tirda_bm_nusc_a": _layout35,
    "ctsd_35_tirda_bm_nwao": _layout35_many_sets,
    "ctsd_35_df16_tirda_bm_nwao": _forcing35,
    "ctsd_35_tvae_f17_tirda_bm_nwao": _video_autoencoder35,
    "ctsd_35_crossview_tirda_bm_nusc_a": _pictures35,
    "ctsd_35_xs_df6v3_tirda_bm_nwao": _small35,
    "ctsd_unimlvg_stage1": _unimlvg_text,
    "ctsd_unimlvg": _unimlvg,
    "ctsd_21_tirda_nwao": _text21,
    "ctsd_21_tirda_bm": _layout21,
    "ctsd_21_crossview": _pictures21,
}
"""Beginnings of names → runs."""
