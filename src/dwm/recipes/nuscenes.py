"""Recipes on Stable Diffusion 3.5 and nuScenes, with the hyperparameters of published runs."""

from __future__ import annotations

from dwm.conditions import ConditionOptions
from dwm.recipes.data import DataOptions, SourceOptions
from dwm.recipes.recipe import Recipe
from dwm.recipes.registry import recipe
from dwm.recipes.sd3 import LAYOUT, SD35, sd35_network
from dwm.training.loop import LoopOptions
from dwm.training.optimizers import OptimizerOptions

NUSCENES = SourceOptions(path="data/nuscenes", version="interp_12Hz_trainval")


@recipe("sd35-text-nuscenes")
def sd35_text_nuscenes() -> Recipe:
    """SD 3.5 medium, six views told by captions and cameras only, 19 frames at 10 fps; 32 devices, 20,000 steps."""
    return Recipe(
        base_model=SD35,
        weights=f"{SD35}/transformer",
        data=DataOptions(sources=(NUSCENES,), batch=2),
        conditions=ConditionOptions(boxes=False, map=False, added_time_ids="fps_camera_transforms"),
        network=sd35_network(),
        training=LoopOptions(steps=20_000, save_every=1000, optimizer=OptimizerOptions(lr=6e-5)),
    )


@recipe("sd35-layout-nuscenes")
def sd35_layout_nuscenes() -> Recipe:
    """The same with boxes and map, from the weights of its warm-up; batch of 32, 20,000 steps."""
    base = sd35_text_nuscenes()
    return base.with_(
        weights="runs/sd35-layout-nuscenes-warmup/weights",
        data=base.data.with_(batch=1),
        conditions=base.conditions.with_(boxes=True, map=True),
        network=base.network.with_(condition_image_adapter_config=LAYOUT),
        training=base.training.with_(optimizer=OptimizerOptions(lr=5e-5)),
    )
