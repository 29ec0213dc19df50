"""A tiny run on a base model's folder and a made-up nuScenes set: two views of 64×32, a network of width 32."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from dwm.conditions import ConditionOptions
from dwm.config import Recipe
from dwm.config.data import DataOptions, SourceOptions
from dwm.config.recipe import PreviewOptions, TrainingOptions
from dwm.data import CaptionOptions
from dwm.networks import AdapterOptions, DiTOptions
from dwm.runs.driving import driving_material, load_parts
from dwm.runs.start import context
from dwm.runs.train import card
from dwm.training.objectives.driving import ObjectiveOptions
from dwm.training.stages.driving import DrivingTask
from dwm.training.stages.driving_stage import driving_trainings
from dwm.training.stages.options import BatchOptions

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from made_up_nuscenes import make_files, make_tables, write

VIEWS = ("CAM_FRONT", "CAM_FRONT_RIGHT")
WORDS = CaptionOptions(align_keys=("time", "weather"), drop_rates={"objects": 0.3})


def made_up(folder: Path) -> Path:
    """A nuScenes set of two scenes."""
    return write(folder, make_files(make_tables(samples=6)))


def network() -> DiTOptions:
    width = 32
    adapter = AdapterOptions(
        in_channels=6,
        channels=(width,),
        is_downblocks=(False,),
        num_res_blocks=1,
        downscale_factor=16,
        use_zero_convs=True,
        gradient_checkpointing=False,
    )
    return DiTOptions(
        num_layers=2,
        attention_head_dim=width // 2,
        num_attention_heads=2,
        sample_size=8,
        joint_attention_dim=40,
        caption_projection_dim=width,
        pooled_projection_dim=40,
        pos_embed_max_size=8,
        qk_norm="rms_norm",
        projection_class_embeddings_input_dim=11 * 256,
        condition_image_adapter_config=adapter,
        enable_crossview=True,
        enable_temporal=True,
        crossview_attention_type="rowwise",
        temporal_attention_type="pointwise",
        crossview_block_layers=(0,),
        temporal_block_layers=(1,),
        perspective_modeling_type="implicit",
    )


def source(data: Path, **changes) -> SourceOptions:
    found = SourceOptions(path=str(data), views=VIEWS, frames=3, rates=((4.0, 0.25),), lidar_clock=False, words=WORDS)
    return found.with_(**changes)


def recipe(data: Path, base: Path, steps: int = 4, **changes) -> Recipe:
    """Four steps of two micro-batches of one clip."""
    options = Recipe(
        name="on-base",
        base_model=str(base),
        data=DataOptions(train=(source(data),), validation=(), size=(64, 32), workers=0),
        conditions=ConditionOptions(added_time_ids="fps_camera_transforms", uncondition_image_color=0.125),
        network=network(),
        training=TrainingOptions(
            steps=steps,
            accumulate=2,
            save_every=2,
            log_every=1,
            batch=BatchOptions(clips=1, frames=2),
            objective=ObjectiveOptions(
                style="ctsd", keep_text=0.7, generation_tasks=0.5, image_tasks=0.3, reference_frames=1
            ),
        ),
        preview=PreviewOptions(every=0),
        device="cpu",
    )
    return options.with_(**changes)


def driving_task(run: Recipe) -> DrivingTask:
    """The last stage of a run as the loop trains it, from the weights that the run starts with."""
    material = driving_material(run, card(run), load_parts(run), torch.device("cpu"))
    (training,) = driving_trainings(run.driving_stages()[-1:], material, Path("not written"), run.training.freeze)
    return training.task(context(run, Path("not written")))
