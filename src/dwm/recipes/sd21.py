"""Recipes on Stable Diffusion 2.1 and its U-Net, with the hyperparameters of published runs."""

from __future__ import annotations

from dwm.checkpoints import SamplingOptions
from dwm.config.recipe import Recipe
from dwm.config.registry import recipe
from dwm.networks import AdapterOptions, UNetOptions
from dwm.recipes.published_sets import ARGOVERSE, TOLD, WAYMO, held_out_sets, training_sets
from dwm.recipes.sd35_mixed import held_out_text_sets, text_sets
from dwm.recipes.sd35_nuscenes import (
    CAMERAS,
    DROPPED,
    PLAIN_BETAS,
    TASKS,
    sd35_crossview_nuscenes,
    sd35_layout_nuscenes,
    sd35_text_nuscenes,
)
from dwm.training.loop.options import OptimizerOptions
from dwm.training.stages.options import BatchOptions

SD21 = "base_model/stable-diffusion-2-1"
NEW_PARTS_ONLY = (
    r"^(((((down|up)_blocks\.\d+)|(mid_block))\.((\w+samplers)|(\w+\.\d+\.(proj|norm|spatial|transformer)\w*))))$"
)
"""What a warm-up freezes: SD 2.1's own convolutions and transformers."""
WIDTHS = (320, 640, 1280, 1280)
SLIGHTLY = {"reference_scale_std": 0.02, "reference_offset_std": 0.02}
LAYOUT = AdapterOptions(
    in_channels=6, channels=(320, *WIDTHS), is_downblocks=(False, *(True,) * 3, False), use_zero_convs=True
)
SAMPLING = SamplingOptions(solver="multistep", num_inference_steps=50, guidance_scale=3, reference_frames=3)


def sd21_network() -> UNetOptions:
    """SD 2.1 with a row of tokens across views and across frames in every transformer."""
    return UNetOptions(
        sample_size=96,
        projection_class_embeddings_input_dim=2816,
        enable_rowwise_crossview=True,
        enable_rowwise_temporal=True,
        merge_factor=2,
    )


@recipe("sd21-text-nuscenes")
def sd21_text_nuscenes() -> Recipe:
    """SD 2.1 with a U-Net, six views told by captions and cameras only, 12 frames at 10 fps; batch of 64, 30,000 steps."""
    base = sd35_text_nuscenes()
    train, held_out = base.data.train[0], base.data.validation[0]
    return base.with_(
        base_model=SD21,
        weights=f"{SD21}/unet",
        autoencoder_piece=18,
        data=base.data.with_(train=(train.with_(frames=12),), validation=(held_out.with_(frames=30),)),
        network=sd21_network(),
        training=base.training.with_(
            steps=30_000,
            accumulate=64,
            batch=BatchOptions(clips=1, frames=12),
            objective=TASKS.with_(**SLIGHTLY),
        ),
        sampling=SAMPLING,
        preview=base.preview.with_(window=12),
    )


@recipe("sd21-text-nwao")
def sd21_text_nwao() -> Recipe:
    """SD 2.1 told by captions and cameras only, on four data sets, 12 frames, from the warm-up's weights; 64, 30,000 steps."""
    base = sd21_text_nuscenes()
    return base.with_(
        weights="runs/sd21-nwao/warmup/weights",
        data=base.data.with_(train=text_sets(12), validation=held_out_text_sets(21), fixed_order=True),
        preview=base.preview.with_(score_clips=640),
    )


@recipe("sd21-text-nwao-warmup")
def sd21_text_nwao_warmup() -> Recipe:
    """Before sd21-text-nwao: only what was added to SD 2.1 learns; batch of 64, 5,000 steps."""
    base = sd21_text_nwao()
    *others, opendv = base.data.train
    warm = _warmup(base, 1.2e-4)
    return warm.with_(data=base.data.with_(train=(*others, opendv.with_(rates=((10.0, 2.0),)))))


@recipe("sd21-layout-nwa")
def sd21_layout_nwa() -> Recipe:
    """SD 2.1 with boxes and map, on nuScenes, Waymo and Argoverse, 15 frames, from the warm-up's weights; 64, 30,000 steps."""
    base = sd21_text_nwao()
    return base.with_(
        weights="runs/sd21-nwa/warmup/weights",
        data=base.data.with_(train=training_sets("nwa", 15), validation=held_out_sets("nwa", 27)),
        conditions=CAMERAS,
        network=sd21_network().with_(condition_image_adapter_config=LAYOUT),
        training=base.training.with_(batch=BatchOptions(clips=1, frames=15)),
        preview=base.preview.with_(window=15, score_clips=480),
    )


@recipe("sd21-layout-nwa-warmup")
def sd21_layout_nwa_warmup() -> Recipe:
    """Before sd21-layout-nwa: only what was added to SD 2.1 learns; batch of 64, 5,000 steps."""
    return _warmup(sd21_layout_nwa(), 1.2e-4)


@recipe("sd21-layout-nuscenes")
def sd21_layout_nuscenes() -> Recipe:
    """SD 2.1 with boxes and map, from the warm-up's weights; batch of 32, 20,000 steps."""
    base, like = sd21_layout_nwa(), sd35_layout_nuscenes()
    return base.with_(
        weights="runs/sd21-nuscenes/warmup/weights",
        data=like.data.with_(
            train=(like.data.train[0].with_(frames=15),), validation=(like.data.validation[0].with_(frames=27),)
        ),
        training=base.training.with_(
            steps=20_000,
            accumulate=32,
            optimizer=OptimizerOptions(lr=5e-5),
            objective=TASKS.with_(generation_tasks=0.25),
        ),
        preview=like.preview.with_(window=15),
    )


@recipe("sd21-layout-nuscenes-warmup")
def sd21_layout_nuscenes_warmup() -> Recipe:
    """Before sd21-layout-nuscenes: only what was added to SD 2.1 learns; batch of 32, 5,000 steps."""
    return _warmup(sd21_layout_nuscenes(), 1e-4)


@recipe("sd21-crossview-nuscenes")
def sd21_crossview_nuscenes() -> Recipe:
    """SD 2.1, single pictures of six views with boxes and map; batch of 64, 30,000 steps."""
    base, like = sd21_layout_nuscenes(), sd35_crossview_nuscenes()
    return base.with_(
        weights=f"{SD21}/unet",
        autoencoder_piece=0,
        data=like.data,
        network=base.network.with_(enable_temporal=False, enable_rowwise_temporal=False),
        conditions=like.conditions,
        training=like.training.with_(accumulate=16, batch=BatchOptions(clips=4, frames=1), objective=DROPPED),
        sampling=base.sampling.with_(reference_frames=0),
        preview=like.preview,
    )


@recipe("sd21-crossview-waymo")
def sd21_crossview_waymo() -> Recipe:
    """SD 2.1, single pictures of Waymo's five views with boxes and map; batch of 64, 20,000 steps."""
    return _other_pictures("w", views=WAYMO.views[:5], seconds=20.0, workers=4, score_clips=2016)


@recipe("sd21-crossview-argoverse")
def sd21_crossview_argoverse() -> Recipe:
    """SD 2.1, single pictures of Argoverse's ring with boxes and map; batch of 64, 20,000 steps."""
    return _other_pictures("a", views=ARGOVERSE.views, seconds=14.0, workers=2, score_clips=1664)


def _other_pictures(letter: str, views: tuple[str, ...], seconds: float, workers: int, score_clips: int) -> Recipe:
    """`seconds` between held-out pictures. Waymo's cameras are taken once each, by their own clock."""
    base = sd21_crossview_nuscenes()
    (train,) = training_sets(letter, 1, ((0.0, 1.0),))
    mask = tuple(row[: len(views)] for row in (train.crossview_mask or ())[: len(views)])
    train = train.with_(views=views, crossview_mask=mask, lidar_clock=letter == "a")
    held_out = train.with_(rates=((0.0, seconds),), words=TOLD)
    return base.with_(
        data=base.data.with_(train=(train,), validation=(held_out,), workers=workers),
        training=base.training.with_(steps=20_000),
        preview=base.preview.with_(score_clips=score_clips),
    )


def _warmup(run: Recipe, rate: float) -> Recipe:
    optimizer = OptimizerOptions(lr=rate, betas=PLAIN_BETAS)
    training = run.training.with_(steps=5000, freeze=NEW_PARTS_ONLY, optimizer=optimizer)
    return run.with_(weights=f"{SD21}/unet", training=training)
