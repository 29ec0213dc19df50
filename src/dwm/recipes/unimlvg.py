"""UniMLVG's three stages on Stable Diffusion 3, with the hyperparameters of published runs."""

from __future__ import annotations

from dwm.checkpoints import SamplingOptions
from dwm.conditions import ConditionOptions
from dwm.config.recipe import Recipe
from dwm.config.registry import recipe
from dwm.recipes.published_sets import held_out_sets, training_sets
from dwm.recipes.sd3 import ALL_OF_SD3, LAYOUT, SD3, sd3_unimlvg_network
from dwm.recipes.sd35_nuscenes import PLAIN_BETAS, sd35_layout_nuscenes
from dwm.training.loop.options import OptimizerOptions
from dwm.training.objectives.options import ObjectiveOptions

TASKS = ObjectiveOptions(
    style="ctsd",
    keep_text=0.8,
    keep_explicit_view=0.8,
    reference_frames=3,
    generation_tasks=0.2,
    image_tasks=0.5,
    all_references_visible=0.8,
    reference_visible=0.5,
    disable_reference_loss=True,
)


@recipe("unimlvg-stage1")
def unimlvg_stage1() -> Recipe:
    """UniMLVG 1: what was added to SD 3 learns from single-camera video (OpenDV), six clips as views; 32, 30,000 steps."""
    base = sd35_layout_nuscenes()
    train, held_out = training_sets("o", 19), held_out_sets("o", 19)
    apart = {"uncalibrated": True}
    return base.with_(
        base_model=SD3,
        weights=f"{SD3}/transformer",
        autoencoder_piece=12,
        data=base.data.with_(
            train=(train[0].with_(rates=((10.0, 2.0),), **apart),),
            validation=(held_out[0].with_(rates=((10.0, 60.0),), **apart),),
            color_jitter=None,
            fixed_order=True,
        ),
        conditions=ConditionOptions(boxes=False, map=False, explicit_view_modeling=True),
        network=sd3_unimlvg_network(),
        training=base.training.with_(
            steps=30_000,
            freeze=ALL_OF_SD3,
            optimizer=OptimizerOptions(lr=8e-5, betas=PLAIN_BETAS),
            objective=TASKS,
        ),
        sampling=SamplingOptions(num_inference_steps=50, guidance_scale=3, reference_frames=3),
        preview=base.preview.with_(given_frames=True, score_clips=160),
    )


@recipe("unimlvg-stage2")
def unimlvg_stage2() -> Recipe:
    """UniMLVG 2: with boxes and map, on nuScenes, Waymo and Argoverse; SD 3's own parts still rest; 32, 20,000 steps."""
    base = unimlvg_stage1()
    return base.with_(
        weights="runs/unimlvg/stage1/weights",
        data=base.data.with_(train=training_sets("nwa", 19), validation=held_out_sets("nwa", 35)),
        conditions=ConditionOptions(explicit_view_modeling=True),
        network=base.network.with_(condition_image_adapter_config=LAYOUT),
        training=base.training.with_(steps=20_000, objective=TASKS.with_(keep_boxes=0.8, keep_map=0.8)),
        preview=base.preview.with_(score_clips=480),
    )


@recipe("unimlvg-stage3")
def unimlvg_stage3() -> Recipe:
    """UniMLVG 3: the same with nothing frozen; batch of 32, 60,000 steps."""
    base = unimlvg_stage2()
    return base.with_(
        weights="runs/unimlvg/stage2/weights",
        weights_strict=True,
        training=base.training.with_(steps=60_000, freeze=None),
    )
