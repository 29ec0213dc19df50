"""The recipe of the embedded LiDAR weights: sweeps of the town along the rays of a LiDAR of 32 beams, small enough for one core."""

from __future__ import annotations

from dwm.config.data import SourceOptions
from dwm.config.lidar import (
    LatentGenerator,
    LatentSampling,
    LidarData,
    LidarPreview,
    LidarRecipe,
    LidarSampling,
    LidarScores,
    LidarTraining,
)
from dwm.config.lidar_files import lidar_recipe
from dwm.data.birdseye import BirdseyeOptions
from dwm.networks import AdapterOptions, DiTOptions
from dwm.networks.lidar.options import GridOptions, RayCodecOptions
from dwm.training.loop.options import OptimizerOptions, ScheduleOptions
from dwm.training.objectives.options import SweepObjective

WIDTH, TOKEN, TEXT = 128, 8, 16
"""Channels, and pixels in a side, of a token; channels of the words, of which there are none."""
SCENES = SourceOptions(kind="town", seed=1000, views=("CAM_FRONT",), frames=4, rates=((0.25, 4.0),))
"""Four sweeps of each scene, four seconds apart."""
GRID = GridOptions(x_min=-40, x_max=40, y_min=-40, y_max=40, step=0.25, z_min=-1, z_max=7, z_step=0.5)


def ray_network() -> DiTOptions:
    """The driving network's kind with one view: five blocks, 256 tokens a sweep."""
    return DiTOptions(
        patch_size=TOKEN,
        num_layers=5,
        attention_head_dim=WIDTH // 4,
        num_attention_heads=4,
        caption_projection_dim=WIDTH,
        in_channels=4,
        out_channels=4,
        joint_attention_dim=TEXT,
        pooled_projection_dim=TEXT,
        pos_embed_max_size=64,
        sample_size=512,
        qk_norm="rms_norm",
        perspective_modeling_type="",
        # Folding as many pixels as a token has puts the layout on the grid of tokens.
        condition_image_adapter_config=AdapterOptions(
            in_channels=6,
            channels=(WIDTH,) * 2,
            is_downblocks=(False,) * 2,
            num_res_blocks=1,
            downscale_factor=TOKEN,
            use_zero_convs=True,
            gradient_checkpointing=False,
        ),
    )


@lidar_recipe("lidar-town")
def lidar_town() -> LidarRecipe:
    """The embedded LiDAR: 32 beams in the town, told boxes and map, drawn while it trains; 40 minutes on one core."""
    return LidarRecipe(
        data=LidarData(
            train=(SCENES,),
            validation=(SCENES.with_(frames=2),),
            nearest=1.0,
            farthest=80.0,
            boxes=True,
            map=True,
            birdseye=BirdseyeOptions(size=(640, 640), pixels_per_metre=4, left_is_up=False, pen_width=1),
            clips=320,
            in_memory=True,
        ),
        centre=(0.943713, 0.0, 1.84023),
        autoencoder=RayCodecOptions(grid=GRID),
        generator=LatentGenerator(
            network=ray_network(),
            prediction="clean",
            scheduler={"shift": 3.0},
            text_channels=TEXT,
            pooled_channels=TEXT,
            sampling=LatentSampling(steps=8, guidance=None),
        ),
        training=LidarTraining(
            steps=2200,
            clips=8,
            frames=1,
            ema_decay=0.998,
            log_every=20,
            save_every=100,
            optimizer=OptimizerOptions(kind="muon", lr=1e-3, muon_lr=3e-3, betas=(0.9, 0.97), weight_decay=0),
            schedule=ScheduleOptions(warmup=30, decay=0.4),
            objective=SweepObjective(keep_boxes=0.95, keep_map=0.95, generation=1, single=1),
        ),
        sampling=LidarSampling(window=8, known=0, carried=0),
        preview=LidarPreview(every=300),
        scores=LidarScores(clips=16),
    )
