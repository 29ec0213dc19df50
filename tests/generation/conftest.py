from pathlib import Path

import pytest

from dwm.base_models import BaseModel
from dwm.base_models.tiny import create_tiny_base_model
from dwm.checkpoints import SamplingOptions, WeightsCard
from dwm.conditions import ConditionOptions
from dwm.generation import DrivingPipeline
from tiny_pipeline import TINY, WORDS, spread_network

CARD = WeightsCard(
    name="tiny",
    sizes=((32, 16),),
    lengths=(1, 4),
    view_counts=(2, 3),
    views=("LEFT", "FRONT", "RIGHT"),
    conditions=ConditionOptions(),
    sampling=SamplingOptions(num_inference_steps=4, guidance_scale=2.0, reference_frames=1),
)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline") / "base"
    create_tiny_base_model(folder, WORDS, seed=1, options=TINY)
    return folder


@pytest.fixture(scope="session")
def pipe(base_folder: Path) -> DrivingPipeline:
    """Untrained but real."""
    return DrivingPipeline(spread_network(), BaseModel.load(base_folder), CARD)
