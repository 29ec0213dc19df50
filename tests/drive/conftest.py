"""A small pipeline of six views."""

from __future__ import annotations

import pytest

from dwm.base_models import BaseModel
from dwm.base_models.tiny import create_tiny_base_model
from dwm.checkpoints import SamplingOptions, WeightsCard
from dwm.generation import DrivingPipeline
from tiny_pipeline import TINY, WORDS, spread_network

CARD = WeightsCard(
    name="tiny",
    sizes=((32, 16),),
    lengths=(1, 4),
    view_counts=(6,),
    sampling=SamplingOptions(num_inference_steps=4, guidance_scale=2.0, reference_frames=2),
)


@pytest.fixture(scope="session")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> DrivingPipeline:
    """Never trained, but whole."""
    folder = tmp_path_factory.mktemp("drive") / "base"
    create_tiny_base_model(folder, WORDS, seed=1, options=TINY)
    return DrivingPipeline(spread_network(), BaseModel.load(folder), CARD)
