import json
import shutil
from pathlib import Path

import pytest

from dwm.opendwm.parity.run import run_parity

CASES = (
    "accumulate_clip_schedule",
    "condition_dropping",
    "ctsd_mix",
    "diffusion_forcing",
    "explicit_view",
    "no_reference_loss",
    "reference_augmentation",
    "sd21_epsilon",
    "sd21_velocity",
    "temporal_vae",
)


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_training_step_is_reproduced_from_its_seeds(vectors, name: str):
    (result,) = run_parity(vectors(f"training/{name}"))
    assert result.passed, (result.note, result.worst)
    kinds = {deviation.tensor.split(".")[1] for deviation in result.deviations}
    assert {"loss", "total_gradient_norm", "gradient", "gradient_norm", "parameter_after", "lr_after"} <= kinds


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"config": {"generator_seed": 1}}, "step0.noisy_latents"),
        ({"global_seed": 1}, "step0.latents"),
        ({"config": {"optimizer": {"lr": 0.002}}}, "step0.lr_used"),
        ({"config": {"pipeline": {"training_config": {"reference_frame_scale_std": 0.3}}}}, "step0.noisy_latents"),
        ({"config": {"pipeline": {"training_config": {"loss_coef_dict": {"sd": 1.01}}}}}, "step0.loss"),
    ],
)
def test_a_step_that_differs_from_its_record_is_found(vectors, tmp_path: Path, change: dict, shown: str):
    source = vectors("training/reference_augmentation")
    case = tmp_path / "case"
    shutil.copytree(source, case, copy_function=shutil.copyfile)
    case.chmod(0o755)
    for name in ("base_models", "pipelines"):
        (tmp_path / name).symlink_to(vectors(name))
    told = merged(json.loads((source / "case.json").read_text()), change)
    (case / "case.json").write_text(json.dumps(told))
    (result,) = run_parity(case)
    wrong = {deviation.tensor for deviation in result.deviations if not deviation.passed}
    assert not result.passed and shown in wrong


def merged(values: dict, change: dict) -> dict:
    return values | {
        key: merged(values.get(key, {}), value) if isinstance(value, dict) else value for key, value in change.items()
    }
