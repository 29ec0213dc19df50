import pytest
import torch

from dwm.opendwm.parity.cases import Setup, read_case
from dwm.opendwm.parity.run import run_case

CASES = (
    "pipelines/images",
    "pipelines/window_layout_action",
    "pipelines/rollout",
    "pipelines/rollout_given_frames",
    "pipelines/diffusion_forcing",
    "pipelines/temporal_vae",
    "pipelines/explicit_view",
    "pipelines/unet_ddim_forcing",
    "pipelines_streaming/streaming",
)


@pytest.mark.parametrize("name", CASES)
def test_recorded_generation(vectors, name: str) -> None:
    case = read_case(vectors(name))
    result = run_case(case.folder, Setup(torch.device("cpu"), torch.float32))
    assert result.passed, (result.note, [d for d in result.deviations if not d.passed])
    assert len(result.deviations) == len(case.outputs)
