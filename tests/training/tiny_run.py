"""A whole training run small enough for tests: invented clips, two views of 32×32, a network of width 32.

Run as a script it trains into the folder given, so that a test can kill it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from shapely.geometry import box

from array_pictures import ArrayPictures
from dwm.base_models.tiny import TinyOptions
from dwm.clip import Boxes, Caption, Clip, LaneMap, Rig
from dwm.conditions import ConditionOptions
from dwm.config import Recipe
from dwm.config.data import DataOptions, SourceOptions
from dwm.config.recipe import PreviewOptions, TrainingOptions
from dwm.devices import pick_device
from dwm.networks import AdapterOptions, DiTOptions
from dwm.runs.precision import note_training_dtype, training_dtype
from dwm.runs.start import context
from dwm.runs.train import train_stages
from dwm.training.loop.optimizers import OptimizerOptions
from dwm.training.loop.options import ScheduleOptions
from dwm.training.loop.step import LoopOptions
from dwm.training.objectives.driving import ObjectiveOptions
from dwm.training.stages.autoencoder import AutoencoderStageOptions
from dwm.training.stages.autoencoder_stage import AutoencoderStage
from dwm.training.stages.driving_stage import DrivingStage
from dwm.training.stages.options import BatchOptions

VIEWS = ("CAM_FRONT", "CAM_FRONT_RIGHT")
CONDITIONS = ConditionOptions(added_time_ids="fps_camera_transforms", uncondition_image_color=0.125)


class InventedClips:
    """Grey pictures with a brighter square where the box is; bright by day, dark by night."""

    def __init__(self, count: int = 4, frames: int = 3):
        self.count, self.frames = count, frames

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Clip:
        rng = np.random.default_rng(index)
        t, v = self.frames, len(VIEWS)
        pictures = np.full((t, v, 32, 32, 3), 160 if index % 2 else 30, np.uint8)
        pictures += rng.integers(0, 20, pictures.shape, np.uint8)
        camera = np.eye(4)
        camera[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
        camera[2, 3] = 1.5
        size = np.tile([32, 32], (v, 1))
        intrinsics = np.tile([[20.0, 0, 16], [0, 20, 16], [0, 0, 1]], (v, 1, 1))
        things = Boxes(np.array([[10.0, 0, 1]]), np.array([[4.0, 2, 2]]), np.eye(3)[None], ("vehicle.car",), ("a",))
        words = Caption(time="day" if index % 2 else "night", image_description="street")
        return Clip(
            scene=f"scene-{index:04d}",
            fps=4.0,
            rig=Rig(VIEWS, intrinsics, np.tile(camera, (v, 1, 1)), size),
            times=np.arange(t)[:, None].repeat(v, 1) * 250_000,
            world_from_ego=np.tile(np.eye(4), (t, v, 1, 1)),
            pictures=ArrayPictures(pictures),
            boxes=((things,) * v,) * t,
            map=LaneMap({"lane": (box(2, -2, 40, 2),), "drivable_area": (), "ped_crossing": ()}),
            captions=((words,) * v,) * t,
        )


def network_options(width: int = 32) -> DiTOptions:
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
        in_channels=4,
        out_channels=4,
        joint_attention_dim=32,
        caption_projection_dim=width,
        pooled_projection_dim=32,
        pos_embed_max_size=4,
        qk_norm="rms_norm",
        projection_class_embeddings_input_dim=11 * 256,
        condition_image_adapter_config=adapter,
        enable_crossview=True,
        enable_temporal=True,
        crossview_attention_type="rowwise",
        temporal_attention_type="pointwise",
        crossview_block_layers=(0,),
        temporal_block_layers=(1,),
        merge_factor=0.0,
        perspective_modeling_type="implicit",
    )


def options(steps: int = 6) -> Recipe:
    muon = OptimizerOptions(kind="muon", lr=1e-3, muon_lr=3e-3)

    def loop(count: int) -> LoopOptions:
        return LoopOptions(
            steps=count, log_every=1, save_every=4, optimizer=muon, schedule=ScheduleOptions(warmup=2, decay=0.3)
        )

    tasks = ObjectiveOptions(
        style="ctsd",
        weighting="velocity",
        shift=1.5,
        drop_all=0.1,
        generation_tasks=0.7,
        image_tasks=0.1,
        reference_frames={1: 0.5, 2: 0.5},
        all_references_visible=1.0,
        disable_reference_loss=True,
        box_weight=2.0,
    )
    base = TinyOptions(
        clip_tokens=8, t5_tokens=4, clip_width=16, t5_width=32, latent_channels=4, autoencoder_widths=(8, 8, 8, 16)
    )
    source = SourceOptions(kind="town", views=VIEWS, frames=3, rates=((4, 0.5),))
    return Recipe(
        name="tiny",
        tiny=base,
        data=DataOptions(train=(source,), validation=(), size=(32, 32)),
        network=network_options(),
        conditions=CONDITIONS,
        preview=PreviewOptions(every=0),
        autoencoder=(
            AutoencoderStage(
                name="autoencoder", loop=loop(steps), pictures=AutoencoderStageOptions(crop=(16, 16), batch=2)
            ),
            AutoencoderStage(
                name="decoder",
                loop=loop(steps),
                pictures=AutoencoderStageOptions(decoder_only=True, crop=(32, 32), batch=1),
            ),
        ),
        warmup=(
            DrivingStage(
                name="pictures",
                loop=loop(steps),
                batch=BatchOptions(clips=4, views=1, train_text=True, sample_latents=False),
                objective=tasks.with_(style=None),
            ),
        ),
        training=TrainingOptions(
            **{name: getattr(loop(steps), name) for name in LoopOptions.model_fields},
            batch=BatchOptions(clips=2, frames=3, sample_latents=False),
            objective=tasks,
        ),
    )


def train(run: Recipe, output: Path, callbacks=(), preview: Clip | None = None) -> Path:
    """The run on invented clips, from nothing or from where it was stopped."""
    output.mkdir(parents=True, exist_ok=True)
    device = pick_device(run.device)
    # As `train_run` does: what a run began in is what it goes on in.
    note_training_dtype(training_dtype(run.autocast, device, output), device, output)
    return train_stages(run, context(run, output, callbacks=callbacks), InventedClips(), preview)


def main(output: str, steps: int, pause: float) -> None:
    torch.set_num_threads(1)
    train(options(steps), Path(output), [lambda moment: time.sleep(pause)])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
