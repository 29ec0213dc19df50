"""Recipes of sweeps, with the hyperparameters of published runs: autoencoders, and generators over their codes or latents."""

from __future__ import annotations

from typing import Any

from dwm.config.data import SourceOptions
from dwm.config.lidar import (
    LatentGenerator,
    LatentSampling,
    LidarData,
    LidarRecipe,
    LidarSampling,
    LidarTraining,
    TokenGenerator,
)
from dwm.config.lidar_files import lidar_recipe
from dwm.diffusion.options import TokenSampling
from dwm.networks import AdapterOptions, DiTOptions, UNetOptions
from dwm.networks.lidar.options import (
    QuantizerOptions,
    RenderOptions,
    TokenNetworkOptions,
    VaeDecoderOptions,
    VaeEncoderOptions,
    VaeOptions,
    VqNetworkOptions,
    VqOptions,
)
from dwm.training.loop.options import OptimizerOptions
from dwm.training.objectives.options import SweepObjective

NUSCENES = SourceOptions(
    path="data/nuscenes", version="v1.0-trainval", views=(), rates=((0.0, 1.0),), frames=1, key_frames_only=True
)
TWELVE_HZ = "interp_12Hz_trainval"
SETS = {
    "n": NUSCENES,
    "w": SourceOptions(kind="waymo", path="data/waymo", views=(), rates=((0.0, 1.0),), frames=1),
    "a": SourceOptions(kind="argoverse", path="data/argoverse", views=(), rates=((0.0, 1.0),), frames=1),
    "k": SourceOptions(kind="kitti360", path="data/kitti360", views=(), rates=((0.0, 1.0),), frames=1),
}
"""By a letter, as mixes are named: n nuScenes, w Waymo, a Argoverse 2, k KITTI-360."""
APART = {"n": 10.0, "w": 60.0, "a": 40.0, "k": 1.0}
"""Sweeps from one held-out window of an autoencoder to the next."""
SPLIT = "nk"
"""Sets whose official split is asked for; the folders of the others are their splits."""

CODES = VqOptions(
    encoder=VqNetworkOptions(recompute=True), decoder=VqNetworkOptions(recompute=True), quantizer=QuantizerOptions()
)
LATENTS = VaeOptions(
    encoder=VaeEncoderOptions(recompute=True),
    decoder=VaeDecoderOptions(rendered=True, recompute=True),
    render=RenderOptions(step=0.15, upper=(0.0, 0.0, 3.0)),
)
CODES_60K, CODES_80K = "pretrained/lidar_vqvae_nwa_60k.pth", "pretrained/lidar_vqvae_nwak_80k.pth"
LATENTS_45K = "pretrained/lidar_vae_nwak_45k.pth"
ADAMW = OptimizerOptions(lr=5e-5, betas=(0.9, 0.99), weight_decay=1e-4)
WINDOW = LidarSampling(window=8, known=0, carried=3)
ALONE = LidarSampling(window=1, known=0, carried=0)


def _autoencoder_data(letters: str) -> LidarData:
    train = tuple(SETS[letter].with_(split="train" if letter in SPLIT else None) for letter in letters)
    held_out = tuple(
        SETS[letter].with_(split="val" if letter in SPLIT else None, rates=((0.0, APART[letter]),))
        for letter in letters
    )
    return LidarData(train=train, validation=held_out)


def _generator_data(letter: str, frames: int, apart: float = 1.0) -> LidarData:
    """Training on nuScenes sees 12 Hz, the held-out sweeps are those at 2 Hz."""
    source = SETS[letter].with_(frames=frames)
    train = source.with_(split="train", **({"version": TWELVE_HZ} if letter == "n" else {}))
    held_out = source.with_(split="val", rates=((0.0, apart),))
    return LidarData(train=(train,), validation=(held_out,), points=32_768, boxes=True, map=letter == "n")


def _training(**changes: Any) -> LidarTraining:
    return LidarTraining(ema_decay=0, clip_norm=0, log_every=100, save_every=1000).with_(**changes)


@lidar_recipe("lidar-vq-nwa")
def lidar_vq_nwa() -> LidarRecipe:
    """Sweeps to 2,048 codes: VQ-VAE on nuScenes, Waymo and Argoverse 2; batch of 32, 60,000 steps."""
    losses = {"voxel_loss": 100.0, "emb_loss": 10.0, "depth_loss": 0.05, "sdf_loss": 0.05}
    optimizer = OptimizerOptions(lr=5e-4, betas=(0.9, 0.995), weight_decay=1e-4)
    return LidarRecipe(
        autocast="float16",
        data=_autoencoder_data("nwa").with_(workers=3),
        autoencoder=CODES,
        training=_training(steps=60_000, accumulate=16, clips=2, losses=losses, optimizer=optimizer),
        sampling=ALONE,
    )


@lidar_recipe("lidar-vq-nwak")
def lidar_vq_nwak() -> LidarRecipe:
    """lidar-vq-nwa with KITTI-360 beside its sets; 80,000 steps."""
    base = lidar_vq_nwa()
    return base.with_(data=_autoencoder_data("nwak").with_(workers=3), training=base.training.with_(steps=80_000))


@lidar_recipe("lidar-vae-nwak")
def lidar_vae_nwak() -> LidarRecipe:
    """Sweeps to 32 channels from above: VAE with rendered depths on four sets; batch of 64, 27,000 steps."""
    losses = {"pred_voxel_loss": 10.0, "depth_loss": 1.0, "sdf_loss": 0.05, "kl_loss": 1e-9}
    optimizer = OptimizerOptions(lr=1e-4, betas=(0.9, 0.95))
    return LidarRecipe(
        autocast="float16",
        data=_autoencoder_data("nwak").with_(workers=5),
        autoencoder=LATENTS,
        training=_training(steps=27_000, accumulate=32, clips=2, losses=losses, optimizer=optimizer),
        sampling=ALONE,
    )


@lidar_recipe("lidar-maskgit-nuscenes")
def lidar_maskgit_nuscenes() -> LidarRecipe:
    """Single sweeps from boxes and map: MaskGIT over codes, nuScenes; batch of 64, 150,000 steps."""
    adapter = AdapterOptions(in_channels=6, channels=(1280,) * 8, is_downblocks=(False,) * 8, use_zero_convs=True)
    generator = TokenGenerator(
        network=TokenNetworkOptions(adapter=adapter, recompute=True),
        sampling=TokenSampling(noise=False),
        blank_codes="pretrained/lidar_vqvae_nwa_60k_blank_code.pkl",
    )
    return LidarRecipe(
        autocast="float16",
        data=_generator_data("n", 1).with_(workers=5),
        autoencoder=CODES,
        autoencoder_weights=CODES_60K,
        generator=generator,
        training=_training(steps=150_000, accumulate=8, clips=8, clip_norm=10, optimizer=ADAMW),
        sampling=ALONE,
    )


@lidar_recipe("lidar-maskgit-80k-nuscenes")
def lidar_maskgit_80k_nuscenes() -> LidarRecipe:
    """lidar-maskgit-nuscenes over the codes of lidar-vq-nwak; 120,000 steps."""
    base = lidar_maskgit_nuscenes()
    assert isinstance(base.generator, TokenGenerator)
    blank = "pretrained/lidar_vqvae_nwak_80k_blank_code.pkl"
    return base.with_(
        autoencoder_weights=CODES_80K,
        generator=base.generator.with_(blank_codes=blank),
        training=base.training.with_(steps=120_000),
    )


@lidar_recipe("lidar-maskgit-80k-kitti360")
def lidar_maskgit_80k_kitti360() -> LidarRecipe:
    """lidar-maskgit-80k-nuscenes on KITTI-360, from boxes alone."""
    base = lidar_maskgit_80k_nuscenes()
    return base.with_(data=_generator_data("k", 1).with_(workers=5), generator=_boxes_alone(base.generator))


@lidar_recipe("lidar-maskgit-temporal-nuscenes")
def lidar_maskgit_temporal_nuscenes() -> LidarRecipe:
    """Eight sweeps that follow one another, from boxes and map: MaskGIT, nuScenes; batch of 24, 150,000 steps."""
    base = lidar_maskgit_80k_nuscenes()
    assert isinstance(base.generator, TokenGenerator)
    return base.with_(
        data=_generator_data("n", 8).with_(workers=5),
        generator=base.generator.with_(network=base.generator.network.with_(temporal=True)),
        training=base.training.with_(
            steps=150_000, accumulate=24, clips=1, frames=8, objective=SweepObjective(prediction=0.5)
        ),
        sampling=WINDOW,
    )


@lidar_recipe("lidar-maskgit-temporal-kitti360")
def lidar_maskgit_temporal_kitti360() -> LidarRecipe:
    """lidar-maskgit-temporal-nuscenes on KITTI-360, from boxes alone."""
    base = lidar_maskgit_temporal_nuscenes()
    return base.with_(data=_generator_data("k", 8).with_(workers=5), generator=_boxes_alone(base.generator))


@lidar_recipe("lidar-dit-temporal-nuscenes")
def lidar_dit_temporal_nuscenes() -> LidarRecipe:
    """Eight sweeps as latents from above, from boxes and map: DiT, nuScenes; batch of 24, 150,000 steps."""
    layers = tuple(range(12))
    network = DiTOptions(
        num_layers=12,
        attention_head_dim=64,
        num_attention_heads=20,
        caption_projection_dim=1280,
        in_channels=32,
        out_channels=32,
        pos_embed_max_size=384,
        dual_attention_layers=layers,
        qk_norm="rms_norm",
        qk_norm_on_additional_modules="rms_norm",
        perspective_modeling_type="",
        projection_class_embeddings_input_dim=3328,
        enable_temporal=True,
        temporal_attention_type="pointwise",
        temporal_block_layers=layers,
        temporal_gradient_checkpointing=True,
        mixer_type="AlphaBlender",
        merge_factor=2,
        condition_image_adapter_config=AdapterOptions(
            in_channels=6, channels=(1280,) * 6, is_downblocks=(True, *(False,) * 5), use_zero_convs=True
        ),
    )
    generator = LatentGenerator(
        network=network,
        scheduler={"num_train_timesteps": 1000, "shift": 3.0},
        text_channels=4096,
        pooled_channels=2048,
        sampling=LatentSampling(steps=5, guidance=3, separate=True),
    )
    return LidarRecipe(
        autocast="float16",
        data=_generator_data("n", 8).with_(workers=5),
        autoencoder=LATENTS.with_(decoder=LATENTS.decoder.with_(rendered=False)),
        autoencoder_weights=LATENTS_45K,
        generator=generator,
        training=_training(
            steps=150_000, accumulate=24, frames=8, optimizer=ADAMW, objective=SweepObjective(generation=0.6)
        ),
        sampling=WINDOW,
    )


@lidar_recipe("lidar-dit-temporal-kitti360")
def lidar_dit_temporal_kitti360() -> LidarRecipe:
    """lidar-dit-temporal-nuscenes on KITTI-360, from boxes alone."""
    base = lidar_dit_temporal_nuscenes()
    return base.with_(
        data=_generator_data("k", 8, 10.0).with_(workers=5),
        generator=_boxes_alone(base.generator),
        training=base.training.with_(objective=SweepObjective(generation=0.25)),
    )


@lidar_recipe("lidar-unet-temporal-nuscenes")
def lidar_unet_temporal_nuscenes() -> LidarRecipe:
    """Eight sweeps as latents from above: U-Net and DDPM, nuScenes."""
    base = lidar_dit_temporal_nuscenes()
    network = UNetOptions(
        sample_size=96,
        in_channels=32,
        out_channels=32,
        down_block_types=(*("CrossAttnDownBlockCrossviewTemporal",) * 3, "DownBlockCrossviewTemporal"),
        up_block_types=("UpBlockCrossviewTemporal", *("CrossAttnUpBlockCrossviewTemporal",) * 3),
        block_out_channels=(320, 640, 1280, 1280),
        cross_attention_dim=1024,
        num_attention_heads=(5, 10, 20, 20),
        projection_class_embeddings_input_dim=None,
        enable_crossview=False,
        enable_temporal=True,
        merge_factor=2,
        condition_image_adapter_config=AdapterOptions(in_channels=6, use_zero_convs=True),
    )
    scheduler = {
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction",
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "trained_betas": None,
    }
    return base.with_(
        generator=LatentGenerator(
            network=network,
            prediction="v_prediction",
            scheduler=scheduler,
            sampling=LatentSampling(steps=5, guidance=3),
        ),
        training=base.training.with_(
            objective=SweepObjective(generation=0.25),
            optimizer=OptimizerOptions(lr=5e-5, betas=(0.9, 0.95), weight_decay=1e-4),
        ),
    )


@lidar_recipe("lidar-unet-temporal-kitti360")
def lidar_unet_temporal_kitti360() -> LidarRecipe:
    """lidar-unet-temporal-nuscenes on KITTI-360, from boxes alone."""
    base = lidar_unet_temporal_nuscenes()
    return base.with_(data=_generator_data("k", 8, 10.0).with_(workers=5), generator=_boxes_alone(base.generator))


def _boxes_alone(generator: Any) -> Any:
    """A generator that is told three channels."""
    network = generator.network
    key = "adapter" if isinstance(generator, TokenGenerator) else "condition_image_adapter_config"
    return generator.with_(network=network.with_(**{key: getattr(network, key).with_(in_channels=3)}))
