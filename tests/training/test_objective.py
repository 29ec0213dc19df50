import json
import math

import pytest
import torch
from safetensors.torch import load_file

from dwm.diffusion.process import Ddpm
from dwm.errors import DwmError
from dwm.training.objectives.driving import Draws, ObjectiveOptions, box_weights, draw, losses_of, noised

SHAPE = (64, 4, 2, 3, 4, 6)


def options_of(settings: dict, style: str | None) -> ObjectiveOptions:
    """The published names of a recorded case in our words."""
    frames = settings.get("reference_frame_count", 0)
    return ObjectiveOptions(
        style=style,
        times=settings.get("weighting_scheme", "logit_normal"),
        reference_frames={int(k): v for k, v in frames.items()} if isinstance(frames, dict) else frames,
        generation_tasks=settings.get("generation_task_ratio", 0),
        image_tasks=settings.get("image_generation_ratio", 0),
        all_references_visible=settings.get("all_reference_visible_ratio", 0),
        reference_visible=settings.get("reference_visible_rate", 1),
        reference_scale_std=settings.get("reference_frame_scale_std"),
        reference_offset_std=settings.get("reference_frame_offset_std"),
        disable_reference_loss=settings.get("disable_reference_frame_loss", False),
    )


def recorded_draws(values: dict, options: ObjectiveOptions) -> Draws:
    def flat(name: str) -> torch.Tensor | None:
        return values[name].flatten() if name in values else None

    if options.times == "mode":
        u = values["timestep_uniform"]
        positions = 1 - u - 1.29 * (torch.cos(math.pi * u / 2) ** 2 - 1 + u)
    else:
        positions = torch.sigmoid(values["timestep_normal"])
    return Draws(
        noise=values["noise"],
        positions=positions,
        keep={
            "text": values["text_keep_uniform"],
            "boxes": values["3dbox_keep_uniform"],
            "map": values["hdmap_keep_uniform"],
            "action": values["action_keep_uniform"],
        },
        scale=values.get("reference_scale_normal"),
        offset=values.get("reference_offset_normal"),
        generation=flat("generation_task_uniform"),
        image=flat("image_generation_uniform"),
        all_visible=flat("all_reference_visible_uniform"),
        visible=values.get("reference_visible_uniform"),
        count=flat("reference_count_uniform"),
    )


@pytest.mark.parametrize("case", ["ctsd_mix", "no_reference_loss", "reference_augmentation", "diffusion_forcing"])
def test_recorded_cases_of_published_training_are_reproduced(vectors, case: str):
    folder = vectors(f"training/{case}")

    def read(name: str) -> dict[str, torch.Tensor]:
        values = load_file(folder / f"{name}.safetensors")
        return {key.removeprefix("step0."): value for key, value in values.items() if key.startswith("step0.")}

    told = json.loads((folder / "case.json").read_text())
    pipeline, outputs = told["config"]["pipeline"], read("outputs")
    options = options_of(pipeline["training_config"], pipeline["common_config"]["frame_prediction_style"])
    inputs = noised(outputs["latents"], recorded_draws(read("draws"), options), options)
    torch.testing.assert_close(inputs.sample, outputs["noisy_latents"], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(inputs.timestep, outputs["timesteps"], atol=1e-3, rtol=1e-6)
    assert torch.equal(inputs.is_reference, outputs["reference_frame_indicator"].bool())
    assert torch.equal(inputs.alone, outputs["disable_temporal"].flatten().bool())
    coefficient = pipeline["training_config"].get("loss_coef_dict", {}).get("sd", 1)
    loss = coefficient * losses_of(outputs["model_output"], inputs, options).loss
    assert float(loss) == pytest.approx(told["results"][0]["loss"], rel=1e-5)


def test_the_right_velocity_costs_nothing_and_the_weightings_differ_by_sigma_squared():
    plain, squared = ObjectiveOptions(weighting="velocity"), ObjectiveOptions()
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(SHAPE, generator=generator)
    draws = draw(SHAPE, plain, generator)
    inputs = noised(latents, draws, plain)
    exact = draws.noise - latents
    assert float(losses_of(exact, inputs, plain).loss) == pytest.approx(0, abs=1e-6)
    wrong = exact + 1
    assert float(losses_of(wrong, inputs, plain).loss) == pytest.approx(1, rel=1e-3)
    assert float(losses_of(wrong, inputs, squared).loss) == pytest.approx(float(inputs.sigma.square().mean()), rel=1e-3)


def test_captions_boxes_and_map_are_dropped_together():
    options = ObjectiveOptions(drop_all=0.25, keep_text=0.9)
    shape = (2000, 1, 1, 1, 1, 1)
    kept = noised(torch.zeros(shape), draw(shape, options, torch.Generator().manual_seed(1)), options).keep
    assert torch.equal(kept["boxes"], kept["map"])
    assert kept["boxes"].float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert not (kept["text"] & ~kept["boxes"]).any()
    assert kept["text"].float().mean().item() == pytest.approx(0.675, abs=0.03)


def test_given_frames_are_clean_told_time_zero_and_may_be_left_out_of_the_loss():
    options = ObjectiveOptions(
        style="ctsd", reference_frames={1: 0.5, 2: 0.5}, all_references_visible=1.0, disable_reference_loss=True
    )
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(SHAPE, generator=generator)
    inputs = noised(latents, draw(SHAPE, options, generator), options)
    assert set(inputs.is_reference.sum((1, 2)).tolist()) == {2, 4}
    assert torch.equal(inputs.sample[inputs.is_reference], latents[inputs.is_reference])
    assert inputs.timestep[inputs.is_reference].abs().max() == 0 and (inputs.timestep[~inputs.is_reference] > 0).all()
    velocity = torch.randn(SHAPE, generator=generator, requires_grad=True)
    losses_of(velocity, inputs, options).loss.backward()
    assert velocity.grad[inputs.is_reference].abs().max() == 0


@pytest.mark.parametrize("frames", [1, 4, 8])
def test_noise_that_rises_is_that_of_a_queue_behind_finished_frames(frames: int):
    options = ObjectiveOptions(
        style="ctsd", rising=0.5, generation_tasks=0.7, weighting="velocity", disable_reference_loss=True
    )
    shape = (200, frames, *SHAPE[2:])
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    draws = draw(shape, options, torch.Generator().manual_seed(0))
    assert draws.rising is not None and 70 < draws.rising.sum() < 130
    inputs = noised(latents, draws, options)
    rising = draws.rising.nonzero().flatten()
    levels = inputs.timestep[rising, :, 0]
    assert (levels.diff(dim=1) >= 0).all() and not inputs.alone[rising].any()
    assert torch.equal(inputs.is_reference[rising].all(2), levels == 0)
    assert torch.equal(inputs.sample[rising][inputs.is_reference[rising]], latents[rising][inputs.is_reference[rising]])
    wrong = torch.where(inputs.is_reference[..., None, None, None], 1e3, draws.noise - latents)
    assert losses_of(wrong, inputs, options).loss < 1e-6, "finished frames do not count"
    if frames == 8:
        moving = ((levels > 0) & (levels < 1000)).sum(1)
        assert moving.max() == 4 and (levels[:, 0] == 0).float().mean() > 0.4
    others = (~draws.rising).nonzero().flatten()
    plain = inputs.timestep[others, :, 0].where(~inputs.is_reference[others, :, 0], torch.nan)
    assert (plain.nan_to_num(-1).amax(1, keepdim=True) == plain).logical_or(plain.isnan()).all()


def test_rising_noise_is_for_given_frames_alone():
    with pytest.raises(ValueError, match=r"rising: 0\.2 is for style ctsd"):
        ObjectiveOptions(style="diffusion_forcing", rising=0.2)


def test_latents_under_and_beside_drawn_boxes_weigh_more():
    layout = torch.zeros(1, 1, 1, 3, 96, 160)
    layout[..., 1, 40, 80] = 1
    weights = box_weights(layout, (12, 20), 3.0)[0, 0, 0, 0]
    assert weights[5, 10] == 3 and weights[4, 9] == 3 and weights[6, 11] == 3
    assert weights.sum() == 12 * 20 + 2 * 9


def test_losses_by_task_add_up_to_the_loss():
    options = ObjectiveOptions(
        style="ctsd", reference_frames=1, all_references_visible=1, generation_tasks=0.6, image_tasks=0.5, loss_scale=2
    )
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(SHAPE, generator=generator)
    inputs = noised(latents, draw(SHAPE, options, generator), options)
    found = losses_of(torch.zeros(SHAPE), inputs, options)
    assert set(found.parts) == {"generation", "image", "prediction"}
    counts = {name: int(count) for name, (_, count) in found.parts.items()}
    assert min(counts.values()) > 5 and sum(counts.values()) == len(latents)
    assert counts["image"] == int(inputs.alone.sum())
    mean = sum(float(total) for total, _ in found.parts.values()) / len(latents)
    assert float(found.loss) == pytest.approx(2 * mean, rel=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_ddpm_asks_for_noise_or_v_at_integer_times(prediction: str):
    noising = Ddpm.create({"num_train_timesteps": 50, "prediction_type": prediction})
    options = ObjectiveOptions(style="ctsd", reference_frames=1, all_references_visible=1)
    generator = torch.Generator().manual_seed(4)
    latents = torch.randn(SHAPE, generator=generator)
    draws = draw(SHAPE, options, generator, noising=noising)
    inputs = noised(latents, draws, options, noising)
    assert inputs.timestep.dtype == torch.int64 and inputs.timestep.max() < 50
    assert inputs.timestep[:, 0].eq(0).all() and torch.equal(inputs.sample[:, 0], latents[:, 0])
    alpha = noising.alphas[draws.positions].reshape(-1, 1, 1, 1, 1, 1)
    right = draws.noise if prediction == "epsilon" else alpha.sqrt() * draws.noise - (1 - alpha).sqrt() * latents
    assert float(losses_of(right, inputs, options).loss) == pytest.approx(0, abs=1e-10)
    with pytest.raises(DwmError, match="'sample' cannot be trained"):
        Ddpm.create({"prediction_type": "sample"})


def test_given_frames_are_counted_in_latents():
    options = ObjectiveOptions(reference_frames={1: 0.5, 5: 0.5})
    assert options.in_latents(4).reference_frames == {1: 0.5, 2: 0.5} and options.in_latents(1) == options
    assert ObjectiveOptions(reference_frames=0).in_latents(4).reference_frames == 0
    with pytest.raises(DwmError, match="3 frames are not whole latents of 4"):
        ObjectiveOptions(reference_frames=3).in_latents(4)
