"""Tiny runs of sweeps, one of each family, on a town that `dwm town -o data/town` wrote: seconds on two cores, no other files."""

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
    TokenGenerator,
)
from dwm.config.lidar_files import lidar_recipe
from dwm.data.birdseye import BirdseyeOptions
from dwm.diffusion.options import TokenSampling
from dwm.networks import AdapterOptions, DiTOptions
from dwm.networks.lidar.options import (
    GridOptions,
    QuantizerOptions,
    TokenNetworkOptions,
    VaeDecoderOptions,
    VaeEncoderOptions,
    VaeOptions,
    VqNetworkOptions,
    VqOptions,
)
from dwm.training.loop.options import OptimizerOptions
from dwm.training.objectives.options import SweepObjective

CELLS, LAYERS, WIDTH = 64, 8, 32
CODES, CODE_CHANNELS, LATENT_CHANNELS, TEXT = 64, 16, 4, 16
TOKENS = (CELLS // 8, CELLS // 8)
FRAMES = 4
GRID = GridOptions(x_min=-32, x_max=32, y_min=-32, y_max=32, step=1, z_min=-3, z_max=5, z_step=1)
SIDES = VqNetworkOptions(
    size=(CELLS, CELLS), layers=LAYERS, width=2 * WIDTH, heads=2, depth=5, code_channels=CODE_CHANNELS
)
VQ = VqOptions(grid=GRID, encoder=SIDES, decoder=SIDES, quantizer=QuantizerOptions(codes=CODES, channels=CODE_CHANNELS))
VAE = VaeOptions(
    grid=GRID,
    encoder=VaeEncoderOptions(size=(CELLS, CELLS), layers=LAYERS, depths=(2, 2), heads=(2, 2), width=WIDTH),
    decoder=VaeDecoderOptions(
        size=(CELLS, CELLS),
        layers=LAYERS,
        width=2 * WIDTH,
        heads=2,
        depth=(1, 1),
        latent_channels=LATENT_CHANNELS,
        rendered=True,
        feature_layers=8,
        feature_channels=8,
    ),
)
TOWN = SourceOptions(
    path="data/town", version="interp_12Hz_trainval", views=(), frames=FRAMES, rates=((0.0, 2.0),), key_frames_only=True
)


def _data(has_layout: bool) -> LidarData:
    return LidarData(
        train=(TOWN,),
        validation=(TOWN.with_(rates=((0.0, 4.0),)),),
        points=400,
        held_out_points=20_000,
        boxes=has_layout,
        map=has_layout,
        birdseye=BirdseyeOptions(
            size=(CELLS, CELLS), pixels_per_metre=1, left_is_up=False, pen_width=1, fill_map=False
        ),
    )


def _training(steps: int, frames: int = 1, lr: float = 2e-3) -> LidarTraining:
    # Two micro-batches a step can be shared by two processes.
    return LidarTraining(
        steps=steps,
        accumulate=2,
        frames=frames,
        ema_decay=0.9,
        log_every=10,
        save_every=max(1, steps // 2),
        optimizer=OptimizerOptions(lr=lr),
    )


SAMPLING = LidarSampling(window=FRAMES, known=1, carried=1)
PREVIEW = LidarPreview(every=20)
SCORES = LidarScores(clips=4, reaches=(30.0,))


@lidar_recipe("tiny-lidar-vq")
def tiny_lidar_vq() -> LidarRecipe:
    """VQ-VAE of 64 codes on a written town: seconds, on two cores."""
    sampling = SAMPLING.with_(known=0)
    return LidarRecipe(
        data=_data(has_layout=False),
        autoencoder=VQ,
        training=_training(40),
        sampling=sampling,
        preview=PREVIEW,
        scores=SCORES,
    )


@lidar_recipe("tiny-lidar-vae")
def tiny_lidar_vae() -> LidarRecipe:
    """VAE with rendered depths on a written town: seconds, on two cores."""
    return tiny_lidar_vq().with_(autoencoder=VAE)


@lidar_recipe("tiny-lidar-maskgit")
def tiny_lidar_maskgit() -> LidarRecipe:
    """MaskGIT over four sweeps told boxes and map, after its VQ-VAE, on a written town: seconds, on two cores."""
    adapter = AdapterOptions(in_channels=6, channels=(WIDTH,) * 2, is_downblocks=(False,) * 2, num_res_blocks=1)
    network = TokenNetworkOptions(
        codes=CODES,
        code_channels=CODE_CHANNELS,
        size=TOKENS,
        width=WIDTH,
        depth=2,
        heads=2,
        temporal=True,
        adapter=adapter,
    )
    base = tiny_lidar_vq()
    return base.with_(
        data=_data(has_layout=True),
        generator=TokenGenerator(network=network, sampling=TokenSampling(steps=8)),
        autoencoder_training=base.training,
        training=_training(20, FRAMES).with_(objective=SweepObjective(prediction=0.5)),
        sampling=SAMPLING,
    )


@lidar_recipe("tiny-lidar-dit")
def tiny_lidar_dit() -> LidarRecipe:
    """Latent DiT over four sweeps told boxes and map, after its VAE, on a written town: seconds, on two cores."""
    network = DiTOptions(
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        caption_projection_dim=WIDTH,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        joint_attention_dim=TEXT,
        pooled_projection_dim=TEXT,
        pos_embed_max_size=16,
        sample_size=8,
        enable_temporal=True,
        temporal_attention_type="pointwise",
        temporal_block_layers=(0, 1),
        perspective_modeling_type="",
        condition_image_adapter_config=AdapterOptions(
            in_channels=6, channels=(WIDTH,) * 2, is_downblocks=(True, False), num_res_blocks=1
        ),
    )
    generator = LatentGenerator(
        network=network, text_channels=TEXT, pooled_channels=TEXT, sampling=LatentSampling(steps=4, guidance=2)
    )
    base = tiny_lidar_vae()
    return base.with_(
        data=_data(has_layout=True),
        generator=generator,
        autoencoder_training=base.training,
        training=_training(20, FRAMES),
        sampling=SAMPLING,
    )
