"""Cases that nobody recorded: other arguments of the recorded kinds, checked by a formula, a library, or a recorded part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from recorded import SETUP, changed, recompute, result
from safetensors.torch import load_file, save_file
from torch import Tensor

from dwm.errors import DwmError
from dwm.opendwm.parity.networks import run_attention_block, run_dit
from dwm.opendwm.parity.schedulers import run_scheduler
from dwm.opendwm.parity.unet import run_unet

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.mark.parametrize(("position", "direction"), [((6, 2), (3, 1)), ((4, -2), (5, 0)), ((0, 0), (2, 0))])
def test_rays_of_other_octaves(tmp_path: Path, position: tuple[int, int], direction: tuple[int, int]) -> None:
    features = 6 * (position[0] + direction[0])
    config = {
        "pos_octaves": position[0],
        "pos_start_octave": position[1],
        "ray_octaves": direction[0],
        "ray_start_octave": direction[1],
        "cond_proj_dim": features,
    }
    case = changed(VECTORS / "models/ray_encoder", tmp_path / "case", {"config": config})
    weight = torch.randn(16, features, generator=torch.Generator().manual_seed(0))
    save_file({"proj.weight": weight.half()}, case.folder / "weights.safetensors")
    rays = case.outputs["rays_o"], case.outputs["rays_d"]

    def encoded(vectors: Tensor, count: int, start: int) -> Tensor:
        angles = [vectors[..., i] * torch.pi * 2.0**k for i in range(3) for k in range(start, start + count)]
        waves = [wave(angle) for wave in (torch.sin, torch.cos) for angle in angles]
        return torch.stack(waves, -1) if waves else vectors[..., :0]

    origin = encoded(rays[0].double()[:, None], *position)
    both = [origin[:, None].expand(*rays[1].shape[:3], -1), encoded(rays[1].double(), *direction)]
    raymap = torch.cat(both, -1) @ weight.half().double().T
    wanted = {"pos_encoding": origin.float(), "raymap": raymap.float(), "rays_o": rays[0], "rays_d": rays[1]}
    judged = recompute(case, wanted)
    assert judged.passed, (judged.note, judged.worst)


def test_octaves_that_do_not_fit_the_projection_are_told(tmp_path: Path) -> None:
    case = changed(VECTORS / "models/ray_encoder", tmp_path / "case", {"config": {"pos_octaves": 3}})
    assert "cond_proj_dim: 72, but 3 octaves" in result(case).note


def test_an_unknown_argument_of_a_part_is_told(tmp_path: Path) -> None:
    case = changed(VECTORS / "models/ray_encoder", tmp_path / "case", {"config": {"ray_octave": 3}})
    assert "config.ray_octave is not known; nearest: ray_octaves" in result(case).note


def test_a_block_whose_heads_are_wider_than_its_stream(tmp_path: Path) -> None:
    """By the formula, with plain softmax attention."""
    config = {"num_attention_heads": 3, "attention_head_dim": 10}
    case = changed(VECTORS / "models/vt_block_qk_none", tmp_path / "case", {"config": config})
    generator = torch.Generator().manual_seed(1)
    other = {f"attn1.to_{name}.weight": (30, 16) for name in "qkv"} | {"attn1.to_out.0.weight": (16, 30)}
    new = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in other.items()}
    save_file(load_file(case.folder / "weights.safetensors") | new, case.folder / "weights.safetensors")
    w = {name: value.double() for name, value in case.weights.items()}

    def linear(name: str, x: Tensor) -> Tensor:
        bias = w.get(f"{name}.bias", torch.zeros(()))
        return x @ w[f"{name}.weight"].T + bias

    def feed(name: str, x: Tensor) -> Tensor:
        value, gate = linear(f"{name}.net.0.proj", x).chunk(2, -1)
        return linear(f"{name}.net.2", value * torch.nn.functional.gelu(gate))

    def norm(name: str, x: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(x, (16,), w[f"{name}.weight"], w[f"{name}.bias"])

    x = case.inputs["hidden_states"].double()
    x = x + feed("ff_in", norm("norm_in", x))
    q, k, v = (linear(f"attn1.to_{n}", norm("norm1", x)).unflatten(-1, (3, 10)).transpose(1, 2) for n in "qkv")
    seen = ((q @ k.transpose(-1, -2)) / 10**0.5).softmax(-1) @ v
    x = x + linear("attn1.to_out.0", seen.transpose(1, 2).flatten(2))
    x = x + feed("ff", norm("norm3", x))
    torch.testing.assert_close(run_attention_block(case, SETUP)["no_mask"].double(), x, atol=1e-5, rtol=1e-5)


def test_a_time_for_each_clip_is_a_time_for_each_picture(vectors, tmp_path: Path) -> None:
    source = vectors("models/dit_plain")
    times = torch.tensor([17.0, 830.0])
    alone = changed(source, tmp_path / "alone", inputs=lambda t: t | {"timestep": times})
    each = changed(source, tmp_path / "each", inputs=lambda t: t | {"timestep": times[:, None, None].expand(2, 3, 3)})
    assert torch.equal(run_dit(alone, SETUP)["noise_pred"], run_dit(each, SETUP)["noise_pred"])


def test_words_for_blocks_that_are_off_do_not_matter(vectors, tmp_path: Path) -> None:
    config = {"crossview_attention_type": "diagonal", "temporal_attention_type": "none", "depth_net": None}
    case = changed(vectors("models/dit_plain"), tmp_path / "case", {"config": config})
    assert result(case).passed


def test_a_depth_network_is_refused(vectors, tmp_path: Path) -> None:
    case = changed(vectors("models/dit_plain"), tmp_path / "case", {"config": {"depth_net": {"a": 1}}})
    assert "no depth is predicted" in result(case).note


def test_a_mask_that_the_caller_repeats_over_frames(vectors, tmp_path: Path) -> None:
    """Seeing single places: each frame's mask counts for that frame alone."""
    source = vectors("unet/unet_pointwise_mask_single_frame")

    def longer(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        mask = tensors["crossview_attention_mask"]
        other = torch.eye(4, dtype=torch.bool).expand(2, -1, -1)
        film = {
            name: tensors[name].repeat_interleave(2, 1)
            for name in ("sample", "timesteps", "encoder_hidden_states", "added_time_ids", "condition_image_tensor")
        }
        stays = {"disable_temporal": torch.ones(2, dtype=torch.bool)}
        return tensors | film | stays | {"crossview_attention_mask": torch.stack([mask, other], 1).flatten(0, 1)}

    def alone(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors | {"disable_temporal": torch.ones(2, dtype=torch.bool)}

    def diagonal(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return alone(tensors) | {"crossview_attention_mask": torch.eye(4, dtype=torch.bool).repeat(2, 1, 1)}

    weights = {"weights_from": "unet_rowwise_layout"}
    (tmp_path / "unet_rowwise_layout").symlink_to(source.parent / "unet_rowwise_layout")
    cases = [changed(source, tmp_path / c.__name__, weights, inputs=c) for c in (longer, alone, diagonal)]
    both, first, second = (run_unet(case, SETUP)["noise_pred"] for case in cases)
    torch.testing.assert_close(both[:, :1], first, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both[:, 1:], second, atol=1e-5, rtol=1e-5)
    assert (first - second).abs().max() > 1e-3


SCHEDULERS = VECTORS / "unet"


@pytest.mark.parametrize(
    "config",
    [
        {"beta_schedule": "squaredcos_cap_v2"},
        {"timestep_spacing": "trailing", "prediction_type": "v_prediction"},
        {"timestep_spacing": "linspace", "clip_sample": True, "clip_sample_range": 0.8},
        {"thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 1.5},
        {"num_train_timesteps": 500, "steps_offset": 0, "set_alpha_to_one": True},
    ],
)
def test_ddim_of_any_settings_steps_as_the_library_does(tmp_path: Path, config: dict) -> None:
    from diffusers import DDIMScheduler

    case = changed(SCHEDULERS / "scheduler_ddim_loop", tmp_path / "case", {"config": config})
    found = run_scheduler(case, SETUP)
    theirs = DDIMScheduler(**case.config)
    theirs.set_timesteps(case.call["num_inference_steps"])
    sample = case.inputs["sample"]
    assert torch.equal(found["timesteps"], theirs.timesteps)
    for i, time in enumerate(theirs.timesteps):
        predicted = 0.7 * torch.tanh(sample * case.inputs["weight"])
        sample = theirs.step(predicted, time, sample).prev_sample
        torch.testing.assert_close(found[f"after_step.{i}"], sample, atol=1e-5, rtol=1e-5)


def test_ddim_at_times_between_its_steps(tmp_path: Path) -> None:
    from diffusers import DDIMScheduler

    times = torch.tensor([3, 500, 999])[:, None].expand(3, 2)
    tensors = {"timestep": times[None].expand(2, 3, 2)}
    case = changed(SCHEDULERS / "scheduler_ddim_epsilon", tmp_path / "case", inputs=lambda t: t | tensors)
    found = run_scheduler(case, SETUP)
    theirs = DDIMScheduler(**case.config)
    theirs.set_timesteps(case.call["num_inference_steps"])
    for frame, time in enumerate(times[:, 0].tolist()):
        arguments = case.inputs["model_output"][:, frame], time, case.inputs["sample"][:, frame]
        step = theirs.step(*arguments)
        torch.testing.assert_close(found["prev_sample"][:, frame], step.prev_sample, atol=1e-5, rtol=1e-5)


def test_the_multistep_solver_steps_as_the_library_does(tmp_path: Path) -> None:
    from diffusers import DPMSolverMultistepScheduler

    change = {"class": "diffusers.DPMSolverMultistepScheduler"}
    case = changed(SCHEDULERS / "scheduler_ddim_loop", tmp_path / "case", change)
    found = run_scheduler(case, SETUP)
    theirs = DPMSolverMultistepScheduler.from_config(dict(case.config))
    theirs.set_timesteps(case.call["num_inference_steps"])
    sample = case.inputs["sample"]
    for i, time in enumerate(theirs.timesteps):
        sample = theirs.step(0.7 * torch.tanh(sample * case.inputs["weight"]), time, sample).prev_sample
        torch.testing.assert_close(found[f"after_step.{i}"], sample, atol=1e-6, rtol=1e-6)
    assert torch.equal(found["sigmas"], theirs.sigmas)


def test_a_flow_with_another_number_of_levels(tmp_path: Path) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    config = {"num_train_timesteps": 400, "shift": 2.5}
    case = changed(SCHEDULERS / "scheduler_flow_match", tmp_path / "case", {"config": config})
    found = run_scheduler(case, SETUP)
    theirs = FlowMatchEulerDiscreteScheduler(**config)
    torch.testing.assert_close(found["training_timesteps"], theirs.timesteps)
    theirs.set_timesteps(case.call["num_inference_steps"])
    torch.testing.assert_close(found["timesteps"], theirs.timesteps, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(found["sigmas"], theirs.sigmas, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"class": "diffusers.EulerDiscreteScheduler"}, "scheduler 'EulerDiscreteScheduler' is not known"),
        ({"call": {"eta": 0.5}}, "call.eta: 0.5"),
        ({"call": {"num_inference_steps": None}}, "num_inference_steps is missing"),
    ],
)
def test_a_solver_that_cannot_be_computed_is_told(tmp_path: Path, change: dict, line: str) -> None:
    case = changed(SCHEDULERS / "scheduler_ddim_loop", tmp_path / "case", change)
    with pytest.raises(DwmError, match=line):
        run_scheduler(case, SETUP)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "not JSON"),
        ("[1]", "expected an object"),
        ("{}", "names no kind"),
        (json.dumps({"kind": "hologram"}), "cases of kind 'hologram' cannot be computed yet"),
        (json.dumps({"kind": "blender"}), "lacks config"),
        (json.dumps({"kind": "blender", "config": {}, "weights_from": "../../mixer"}), "neither beside the case nor"),
    ],
)
def test_a_case_that_cannot_be_computed_says_so_and_stops_no_other(tmp_path: Path, content: str, line: str) -> None:
    from dwm.opendwm.parity.run import run_parity

    changed(VECTORS / "models/mixer", tmp_path / "sound")
    changed(VECTORS / "models/mixer", tmp_path / "broken")
    (tmp_path / "broken/case.json").write_text(content)
    broken, sound = run_parity(tmp_path)
    assert sound.passed and not broken.passed
    assert line in broken.note and "\n" not in broken.note
