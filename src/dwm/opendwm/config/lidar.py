"""OpenDWM's LiDAR runs: recognised, checked and kept, until their networks are here. Builds nothing."""

from __future__ import annotations

from typing import Any

from dwm.opendwm.config.names import LIDAR_PIPELINES
from dwm.opendwm.config.reader import Section, check_names

TOP_KEYS = (
    "device",
    "ddp_backend",
    "data_shuffle",
    "generator_seed",
    "global_state",
    "optimizer",
    "lr_scheduler",
    "scheduler",
    "gradient_accumulation_steps",
    "depth_sdf_loss_coef",
    "preview_image_size",
    "save_results",
    "pipeline",
    "train_epochs",
    "training_dataset",
    "validation_dataset",
    "training_dataloader",
    "validation_dataloader",
    "preview_dataloader",
    "informations",
)


def read_lidar(top: Section, pipeline: str) -> dict[str, Any]:
    """The run as it stands, with every name in it checked."""
    settings = {key: top.take(key) for key in TOP_KEYS if key in top}
    top.close(also=TOP_KEYS)
    check_names(settings, "", top.ledger.source)
    return {"verb": "lidar", "kind": LIDAR_PIPELINES[pipeline], "settings": settings}
