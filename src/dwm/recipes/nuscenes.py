"""Recipes on Stable Diffusion 3.5 and nuScenes, with the hyperparameters of published runs."""

from __future__ import annotations

from dwm.conditions import ConditionOptions
from dwm.data import CaptionOptions
from dwm.generation import SamplingOptions
from dwm.networks import UNetOptions
from dwm.recipes.data import DataOptions, SourceOptions
from dwm.recipes.recipe import Recipe, TrainingOptions
from dwm.recipes.registry import recipe
from dwm.recipes.sd3 import LAYOUT, SD3, SD35, sd3_unimlvg_network, sd35_network
from dwm.training.driving import BatchOptions
from dwm.training.objective import ObjectiveOptions
from dwm.training.optimizers import OptimizerOptions

ALIGNED = CaptionOptions(align_keys=("time", "weather"))
DROPPED = ALIGNED.with_(reorder=True, drop_rates={"environment": 0.04, "objects": 0.08, "image_description": 0.16})
NUSCENES = SourceOptions(path="data/nuscenes", version="interp_12Hz_trainval", key_frames_only=True, lidar_clock=False)
TRAIN = NUSCENES.with_(split="train", words=DROPPED)
VALIDATION = NUSCENES.with_(split="val", frames=35, rates=((10.0, 20.0),), check_times=False, words=ALIGNED)
TASKS = ObjectiveOptions(
    style="ctsd",
    keep_text=0.8,
    keep_boxes=0.8,
    keep_map=0.8,
    reference_frames=3,
    generation_tasks=0.4,
    image_tasks=0.3,
    all_references_visible=1,
)
"""Two fifths from nothing (three tenths of those as single pictures), the rest from three given frames."""


@recipe("sd35-text-nuscenes")
def sd35_text_nuscenes() -> Recipe:
    """SD 3.5 medium, six views told by captions and cameras only, 19 frames at 10 fps; 32 devices, 20,000 steps."""
    return Recipe(
        base_model=SD35,
        weights=f"{SD35}/transformer",
        data=DataOptions(train=(TRAIN,), validation=(VALIDATION,)),
        conditions=ConditionOptions(boxes=False, map=False, added_time_ids="fps_camera_transforms"),
        network=sd35_network(),
        training=TrainingOptions(
            steps=20_000,
            save_every=1000,
            ema_decay=0,
            optimizer=OptimizerOptions(lr=6e-5),
            batch=BatchOptions(clips=2, frames=19),
            objective=TASKS,
        ),
        sampling=SamplingOptions(num_inference_steps=40, guidance_scale=4, reference_frames=3),
    )


@recipe("sd35-layout-nuscenes")
def sd35_layout_nuscenes() -> Recipe:
    """The same with boxes and map, from the weights of its warm-up; batch of 32, 20,000 steps."""
    base = sd35_text_nuscenes()
    return base.with_(
        weights="runs/sd35-layout-nuscenes-warmup/weights",
        conditions=base.conditions.with_(boxes=True, map=True),
        network=base.network.with_(condition_image_adapter_config=LAYOUT),
        training=base.training.with_(
            optimizer=OptimizerOptions(lr=5e-5),
            batch=base.training.batch.with_(clips=1),
            objective=TASKS.with_(generation_tasks=0.25),
        ),
    )


@recipe("unimlvg-nuscenes")
def unimlvg_nuscenes() -> Recipe:
    """UniMLVG's last stage: SD 3 medium with camera rays, boxes and map, 19 frames at 10 fps; batch of 32, 60,000 steps."""
    base = sd35_layout_nuscenes()
    return base.with_(
        base_model=SD3,
        weights="pretrained/ctsd_unimlvg_stage2",
        conditions=ConditionOptions(explicit_view_modeling=True),
        network=sd3_unimlvg_network().with_(condition_image_adapter_config=LAYOUT),
        training=base.training.with_(
            steps=60_000,
            optimizer=OptimizerOptions(lr=8e-5),
            batch=base.training.batch.with_(clips=2),
            objective=TASKS.with_(
                keep_explicit_view=0.8,
                generation_tasks=0.2,
                image_tasks=0.5,
                all_references_visible=0.8,
                reference_visible=0.5,
                disable_reference_loss=True,
            ),
        ),
        sampling=SamplingOptions(num_inference_steps=50, guidance_scale=3, reference_frames=3),
    )


@recipe("sd21-text-nuscenes")
def sd21_text_nuscenes() -> Recipe:
    """SD 2.1 with a U-Net, six views told by captions and cameras only, 12 frames at 10 fps; batch of 64, 30,000 steps."""
    base = sd35_text_nuscenes()
    train, held_out = base.data.train[0], base.data.validation[0]
    return base.with_(
        base_model="base_model/stable-diffusion-2-1",
        weights="base_model/stable-diffusion-2-1/unet",
        data=base.data.with_(train=(train.with_(frames=12),), validation=(held_out.with_(frames=30),)),
        network=UNetOptions(
            sample_size=96,
            projection_class_embeddings_input_dim=2816,
            enable_rowwise_crossview=True,
            enable_rowwise_temporal=True,
            merge_factor=2,
        ),
        training=base.training.with_(
            steps=30_000,
            batch=base.training.batch.with_(clips=1, frames=12),
            objective=TASKS.with_(reference_scale_std=0.02, reference_offset_std=0.02),
        ),
        sampling=SamplingOptions(num_inference_steps=50, guidance_scale=3, reference_frames=3),
    )
