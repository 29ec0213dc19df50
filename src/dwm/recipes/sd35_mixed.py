"""Recipes on Stable Diffusion 3.5 and four data sets together, with the hyperparameters of published runs."""

from __future__ import annotations

from dwm.checkpoints import SamplingOptions
from dwm.config.data import Mix, SourceOptions
from dwm.config.recipe import PreviewOptions, Recipe
from dwm.config.registry import recipe
from dwm.networks import DiTOptions
from dwm.recipes.published_sets import APART, GREY, ROW, held_out_sets, training_sets
from dwm.recipes.sd3 import NEW_PARTS_ONLY, SD35, SMALL, layout_adapter
from dwm.recipes.sd35_nuscenes import CAMERAS, PLAIN_BETAS, TASKS, sd35_layout_nuscenes, sd35_text_nuscenes
from dwm.training.loop.options import OptimizerOptions
from dwm.training.objectives.options import ObjectiveOptions
from dwm.training.stages.options import BatchOptions

GREY_LAYOUT = CAMERAS.with_(uncondition_image_color=0.1255)
SLIGHTLY = {"reference_scale_std": 0.01, "reference_offset_std": 0.01}
FRONT = {
    "nuscenes": ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"),
    "waymo": ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"),
    "argoverse": ("cameras/ring_front_left", "cameras/ring_front_right", "cameras/ring_side_right"),
}
RATES = ((2.0, 0.4), (5.0, 0.2), (10.0, 0.1))
FORCING = ObjectiveOptions(
    style="diffusion_forcing", keep_text=0.8, keep_boxes=0.8, keep_map=0.8, image_tasks=0.1, **SLIGHTLY
)


@recipe("sd35-text-nwao")
def sd35_text_nwao() -> Recipe:
    """SD 3.5 medium told by captions and cameras only, on nuScenes, Waymo, Argoverse and OpenDV; batch of 64, 20,000 steps."""
    base = sd35_text_nuscenes()
    return base.with_(
        weights="runs/sd35-nwao/warmup/weights",
        data=base.data.with_(
            train=text_sets(19),
            validation=held_out_text_sets(35),
            fixed_order=True,
        ),
        preview=base.preview.with_(score_clips=640),
    )


@recipe("sd35-text-nwao-warmup")
def sd35_text_nwao_warmup() -> Recipe:
    """Before sd35-text-nwao: only what was added to SD 3.5 learns; batch of 64, 5,000 steps."""
    base = sd35_text_nwao()
    return base.with_(
        weights=f"{SD35}/transformer",
        training=base.training.with_(
            steps=5000, freeze=NEW_PARTS_ONLY, optimizer=OptimizerOptions(lr=1.2e-4, betas=PLAIN_BETAS)
        ),
    )


def text_sets(frames: int, maps: bool = False) -> tuple[SourceOptions, ...]:
    """Four sets by their cameras' clock, Waymo's windows twice as far apart; nothing of maps is told."""
    return tuple(
        s.with_(rates=((10.0, 0.2),)) if s.kind == "waymo" else s
        for s in training_sets("vwao", frames, lidar_clock=False, maps=maps)
    )


def held_out_text_sets(frames: int) -> tuple[SourceOptions, ...]:
    return tuple(
        s.with_(rates=((10.0, 45.0),)) if s.kind == "opendv" else s
        for s in held_out_sets("vwao", frames, lidar_clock=False, maps=False)
    )


@recipe("sd35-layout-nwao")
def sd35_layout_nwao() -> Recipe:
    """SD 3.5 medium with boxes and map, on four data sets in three sizes, 19 frames; 96 clips a step, 40,000 steps."""
    base = sd35_layout_nuscenes()
    objective = TASKS.with_(generation_tasks=0.25, reference_frames={1: 0.1, 2: 0.3, 3: 0.6}, **SLIGHTLY)
    return base.with_(
        weights=f"{SD35}/transformer",
        autoencoder_piece=12,
        data=base.data.with_(
            train=_grey(training_sets("nwao", 19)),
            validation=_grey(held_out_sets("nwao", 35)),
            mix=(_mix((448, 256), 0.6, 19, 2), _mix((304, 176), 0.3, 19, 4), _mix((256, 144), 0.1, 19, 6)),
            color_jitter=None,
            fixed_order=True,
        ),
        conditions=GREY_LAYOUT,
        network=base.network.with_(temporal_attention_type="pointwise"),
        training=base.training.with_(
            steps=40_000,
            accumulate=32,
            seed=1,
            optimizer=OptimizerOptions(lr=6e-5),
            batch=BatchOptions(clips=1, frames=19),
            objective=objective,
        ),
        preview=base.preview.with_(score_clips=640),
    )


@recipe("sd35-forcing-nwao")
def sd35_forcing_nwao() -> Recipe:
    """Diffusion forcing on SD 3.5 medium with speed and steering, 16 frames at 2, 5 and 10 fps; 48 clips a step, 40,000 steps."""
    base = sd35_layout_nwao()
    cameras = {"lidar_clock": False}
    train = _grey(training_sets("nwao", 16, RATES, **cameras))
    held_out = _grey(held_out_sets("nwao", 24, **cameras))
    return base.with_(
        data=base.data.with_(
            train=tuple(s.with_(lidar_clock=s.kind == "argoverse") for s in train),
            validation=tuple(s.with_(lidar_clock=s.kind == "argoverse") for s in held_out),
            mix=(_mix((624, 352), 0.6, 16, 1), _mix((448, 256), 0.3, 16, 2), _mix((368, 208), 0.1, 16, 3)),
        ),
        conditions=GREY_LAYOUT.with_(added_time_ids="fps_camera_transforms_action"),
        network=base.network.with_(projection_class_embeddings_input_dim=3328),
        training=base.training.with_(
            seed=0,
            optimizer=OptimizerOptions(lr=6e-5, betas=PLAIN_BETAS),
            batch=BatchOptions(clips=1, frames=16),
            objective=FORCING,
        ),
        sampling=SamplingOptions(num_inference_steps=32, guidance_scale=2, reference_frames=15, style="forcing"),
        preview=base.preview.with_(window=16, score_clips=None),
    )


@recipe("sd35-videolatents-nwao")
def sd35_videolatents_nwao() -> Recipe:
    """SD 3.5 medium on latents of CogVideoX's video autoencoder, 17 frames in 5 latents; 96 clips a step, 50,000 steps."""
    base = sd35_layout_nwao()
    return base.with_(
        autoencoder_folder="base_model/CogVideoX-2b",
        autoencoder_piece=2,
        data=base.data.with_(
            train=_grey(text_sets(17, maps=True)),
            validation=held_out_sets("n", 35, lidar_clock=False),
            mix=(_mix((448, 256), 0.6, 17, 2), _mix((320, 192), 0.3, 17, 4), _mix((256, 128), 0.1, 17, 6)),
        ),
        training=base.training.with_(
            steps=50_000,
            seed=0,
            references_alone=1,
            batch=BatchOptions(clips=1, frames=17),
            objective=TASKS.with_(generation_tasks=0.25, reference_frames=1, disable_reference_loss=True, **SLIGHTLY),
        ),
        sampling=base.sampling.with_(reference_frames=1),
        preview=base.preview.with_(window=17, given_frames=True),
    )


@recipe("sd35-xs-forcing-nwao")
def sd35_xs_forcing_nwao() -> Recipe:
    """A small one for streams: twelve narrower blocks from nothing, three views, 6 frames; 144 clips a step, 40,000 steps."""
    base = sd35_forcing_nwao()
    return base.with_(
        weights=None,
        data=base.data.with_(
            train=tuple(_three_views(s, 6) for s in base.data.train),
            validation=tuple(_three_views(s, 25) for s in base.data.validation),
            size=(480, 272),
            mix=(_mix((688, 384), 0.6, 6, 1), _mix((480, 272), 0.3, 6, 2), _mix((400, 224), 0.1, 6, 3)),
        ),
        conditions=GREY_LAYOUT,
        network=xs_network(),
        training=base.training.with_(
            accumulate=96, optimizer=OptimizerOptions(lr=1e-4, betas=PLAIN_BETAS), batch=BatchOptions(clips=1, frames=6)
        ),
        sampling=SamplingOptions(num_inference_steps=30, guidance_scale=2, reference_frames=5, style="forcing"),
        preview=PreviewOptions(size=(400, 224), window=6),
    )


def xs_network() -> DiTOptions:
    """Half as deep as SD 3.5 and a little narrower, across views after every second block and across frames after each."""
    network = sd35_layout_nwao().network
    assert isinstance(network, DiTOptions)
    return network.with_(
        num_layers=12,
        num_attention_heads=20,
        caption_projection_dim=SMALL,
        dual_attention_layers=tuple(range(12)),
        projection_class_embeddings_input_dim=2816,
        condition_image_adapter_config=layout_adapter(SMALL),
        crossview_block_layers=tuple(range(1, 12, 2)),
        temporal_block_layers=tuple(range(12)),
    )


def _mix(size: tuple[int, int], share: float, frames: int, clips: int) -> Mix:
    return Mix(size=size, share=share, frames=frames, clips=clips)


def _grey(sources: tuple[SourceOptions, ...]) -> tuple[SourceOptions, ...]:
    """OpenDV has no layout: its pictures are told as grey."""
    return tuple(s.with_(made_up_layout=GREY) if s.kind == "opendv" else s for s in sources)


def _three_views(source: SourceOptions, frames: int) -> SourceOptions:
    """The front three cameras, or three clips of one camera."""
    if source.kind == "opendv":
        between = 120.0 if source.split == "val" else 10.0
        apart = tuple(row[:3] for row in APART[:3])
        return source.with_(
            frames=frames,
            rates=((10.0, between),),
            views=source.views[:3],
            clips_as_views=3,
            crossview_mask=apart,
        )
    return source.with_(frames=frames, views=FRONT[source.kind], crossview_mask=ROW)
