"""Recipes on Stable Diffusion 3.5 and nuScenes, with the hyperparameters of published runs."""

from __future__ import annotations

from typing import Any

from dwm.checkpoints import SamplingOptions
from dwm.conditions import ConditionOptions
from dwm.config.data import DataOptions, SourceOptions
from dwm.config.recipe import PreviewOptions, Recipe, TrainingOptions
from dwm.config.registry import recipe
from dwm.recipes.published_sets import TOLD, held_out_sets, training_sets
from dwm.recipes.sd3 import LAYOUT, NEW_PARTS_ONLY, SD35, sd35_network
from dwm.training.loop.options import OptimizerOptions
from dwm.training.objectives.options import ObjectiveOptions
from dwm.training.stages.options import BatchOptions

DROPPED = ObjectiveOptions(keep_text=0.8, keep_boxes=0.8, keep_map=0.8)
TASKS = DROPPED.with_(style="ctsd", reference_frames=3, generation_tasks=0.4, image_tasks=0.3, all_references_visible=1)
"""Two fifths from nothing (three tenths of those as single pictures), the rest from three given frames."""
CAMERAS = ConditionOptions(added_time_ids="fps_camera_transforms")
JITTER = (0.02, 0.03, 0.03)
PLAIN_BETAS = (0.9, 0.999)
"""Of runs that do not name AdamW's decay rates."""


def camera_sets(**changes: Any) -> tuple[SourceOptions, ...]:
    """Clips of 19 frames by the cameras' clock."""
    return training_sets("n", 19, lidar_clock=False, **changes)


def held_out_camera_sets(**changes: Any) -> tuple[SourceOptions, ...]:
    return held_out_sets("n", 35, lidar_clock=False, **changes)


@recipe("sd35-text-nuscenes")
def sd35_text_nuscenes() -> Recipe:
    """SD 3.5 medium, six views told by captions and cameras only, 19 frames at 10 fps; batch of 64, 20,000 steps."""
    return Recipe(
        base_model=SD35,
        weights=f"{SD35}/transformer",
        text_dtype="float16",
        autoencoder_piece=16,
        data=DataOptions(
            train=camera_sets(maps=False),
            validation=held_out_camera_sets(maps=False),
            workers=3,
        ),
        conditions=CAMERAS.with_(boxes=False, map=False),
        network=sd35_network(),
        training=TrainingOptions(
            steps=20_000,
            accumulate=32,
            clip_norm=0,
            ema_decay=0,
            log_every=100,
            save_every=1000,
            optimizer=OptimizerOptions(lr=6e-5),
            batch=BatchOptions(clips=2, frames=19),
            objective=TASKS,
        ),
        sampling=SamplingOptions(num_inference_steps=40, guidance_scale=4, reference_frames=3),
        preview=PreviewOptions(size=(448, 252), window=19),
    )


@recipe("sd35-layout-nuscenes")
def sd35_layout_nuscenes() -> Recipe:
    """SD 3.5 medium with boxes and map, 19 frames at 10 fps, from the warm-up's weights; batch of 32, 20,000 steps."""
    base = sd35_text_nuscenes()
    return base.with_(
        weights="runs/sd35-nuscenes/warmup/weights",
        data=base.data.with_(train=camera_sets(), validation=held_out_camera_sets(), color_jitter=JITTER),
        conditions=CAMERAS,
        network=base.network.with_(condition_image_adapter_config=LAYOUT),
        training=base.training.with_(
            accumulate=16, optimizer=OptimizerOptions(lr=5e-5), objective=TASKS.with_(generation_tasks=0.25)
        ),
        preview=base.preview.with_(score_clips=144),
    )


@recipe("sd35-layout-nuscenes-warmup")
def sd35_layout_nuscenes_warmup() -> Recipe:
    """Before sd35-layout-nuscenes: only what was added to SD 3.5 learns; batch of 32, 5,000 steps."""
    base = sd35_layout_nuscenes()
    return base.with_(
        weights=f"{SD35}/transformer",
        training=base.training.with_(
            steps=5000, freeze=NEW_PARTS_ONLY, optimizer=OptimizerOptions(lr=1e-4, betas=PLAIN_BETAS)
        ),
    )


@recipe("sd35-crossview-nuscenes")
def sd35_crossview_nuscenes() -> Recipe:
    """SD 3.5 medium, single pictures of six views with boxes and map; batch of 64, 30,000 steps."""
    base = sd35_layout_nuscenes()
    train = base.data.train[0].with_(frames=1, rates=((0.0, 1.0),))
    held_out = train.with_(version="v1.0-trainval", split="val", rates=((0.0, 3.0),), words=TOLD)
    return base.with_(
        weights=f"{SD35}/transformer",
        autoencoder_piece=0,
        data=base.data.with_(train=(train,), validation=(held_out,)),
        network=base.network.with_(enable_temporal=False, temporal_attention_type=None, temporal_block_layers=()),
        conditions=CAMERAS.with_(disable_temporal=True),
        training=base.training.with_(
            steps=30_000,
            accumulate=64,
            optimizer=OptimizerOptions(lr=6e-5, betas=PLAIN_BETAS),
            batch=BatchOptions(clips=1, frames=1),
            objective=DROPPED,
        ),
        sampling=base.sampling.with_(reference_frames=0),
        preview=base.preview.with_(window=None, score_clips=1664),
    )
