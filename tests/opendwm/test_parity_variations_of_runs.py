"""Generations and training steps that nobody recorded: other batches, solvers, methods and options of the recorded ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from recorded import SETUP, changed, result
from safetensors.torch import load_file, save_file
from torch import Tensor

from dwm.opendwm.config.pipeline import MULTISTEP_SOLVER
from dwm.opendwm.parity.cases import Case
from dwm.opendwm.parity.pipelines import driving_network, load_base, run_pipeline

CLOSE = {"atol": 1e-3, "rtol": 1e-3}


def twice(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([value, value]) for name, value in tensors.items()}


def two_clips(source: Path, target: Path, change: dict, outputs: tuple[str, ...]) -> Case:
    """The recorded batch twice; the first clip's noise is what was recorded, the second's is drawn behind it."""
    shape = json.loads((source / "case.json").read_text())["latent_shape"]
    change = {**change, "latent_shape": [2, *shape[1:]], "reduced_outputs": {}}
    case = changed(source, target, change, inputs=twice, outputs=lambda t: {name: torch.zeros(1) for name in outputs})
    words = json.loads((source / "inputs.json").read_text())
    (case.folder / "inputs.json").write_text(json.dumps({"clip_text": words["clip_text"] * 2}))
    return case


def test_the_first_of_two_image_clips_is_the_recorded_one(vectors, tmp_path: Path) -> None:
    source = vectors("pipelines/images")
    names = ("images", "call0.latents", "call0.first_step.model_input", "call0.encoder_hidden_states", "draw0")
    found = run_pipeline(two_clips(source, tmp_path / "two", {}, names), SETUP)
    recorded = load_file(source / "outputs.safetensors")
    assert [found[name].shape[0] for name in names] == [12, 2, 2, 4, 2]
    torch.testing.assert_close(found["images"][:6].half().float(), recorded["images"].float(), **CLOSE)
    torch.testing.assert_close(found["call0.latents"][:1], recorded["call0.latents"], **CLOSE)
    torch.testing.assert_close(found["draw0"][:1], recorded["draw0"])


def test_without_guidance_the_input_of_both_clips_is_told(vectors, tmp_path: Path) -> None:
    source = vectors("pipelines/images")
    change = {"config": {"pipeline": {"inference_config": {"guidance_scale": None}}}}
    found = run_pipeline(two_clips(source, tmp_path / "two", change, ("call0.first_step.model_input", "draw0")), SETUP)
    assert torch.equal(found["call0.first_step.model_input"], found["draw0"])


def test_windows_of_two_clips_are_cut_and_joined_as_published(vectors, tmp_path: Path) -> None:
    """The second clip's known frames stay, the first clip loses more than its own."""
    source = vectors("pipelines/rollout")
    found = run_pipeline(two_clips(source, tmp_path / "two", {}, ("images",)), SETUP)["images"]
    recorded = load_file(source / "outputs.safetensors")["images"].float()
    assert len(found) == 16 + 8 + 8
    torch.testing.assert_close(found[:8].half().float(), recorded[:8], **CLOSE)
    torch.testing.assert_close(found[16:20], found[12:16], **CLOSE)


def test_the_multistep_solver_with_given_frames(vectors, tmp_path: Path) -> None:
    """By diffusers' own solver: known frames are shown clean at time 0, and the solver steps all."""
    from diffusers import DPMSolverMultistepScheduler

    pictures = torch.rand(1, 5, 3, 3, 32, 48, generator=torch.Generator().manual_seed(5))
    inference = {"scheduler": MULTISTEP_SOLVER, "generate_frames_for_reference": False, "reference_frame_count": 2}
    pipeline = {"common_config": {"frame_prediction_style": "ctsd"}, "inference_config": inference}
    names = (
        "images",
        "call0.latents",
        "call1.latents",
        "call0.image_latents",
        "scheduler.sigmas",
        "scheduler.timesteps",
    )
    names = (*names, "draw0", "draw1")
    case = changed(
        vectors("pipelines/unet_ddim_forcing"),
        tmp_path / "case",
        {"config": {"pipeline": pipeline}, "reduced_outputs": {}},
        inputs=lambda tensors: tensors | {"vae_images": pictures},
        outputs=lambda _: {name: torch.zeros(1) for name in names},
    )
    seen = []
    network = driving_network(case.config["pipeline"]["model"], case.find("weights.safetensors"))
    base = load_base(case, SETUP)
    found = run_pipeline_noting(case, seen)
    solver = DPMSolverMultistepScheduler.from_config(base.scheduler)
    solver.set_timesteps(6)
    known = base.autoencoder.encode(pictures[:, :2]).detach()
    prepared, scale = seen, case.config["pipeline"]["inference_config"]["guidance_scale"]
    with torch.no_grad():
        for window in range(2):
            solver.set_timesteps(6)
            latents = found[f"draw{window}"]
            for time in solver.timesteps:
                shown = torch.cat([known, latents[:, 2:]], 1)
                times = torch.tensor([0.0, 0.0, float(time)])[None, :, None].expand(2, 3, 3)
                without, with_ = network(torch.cat([shown, shown]), times, prepared[window]).chunk(2)
                latents = solver.step(without + scale * (with_ - without), time, latents).prev_sample
            latents = torch.cat([known, latents[:, 2:]], 1)
            torch.testing.assert_close(found[f"call{window}.latents"], latents, **CLOSE)
            known = latents[:, -2:]
    torch.testing.assert_close(found["scheduler.sigmas"], solver.sigmas)
    assert torch.equal(found["scheduler.timesteps"], solver.timesteps)
    # Five frames by windows of three that share two: the two given ones are left out.
    assert len(found["images"]) == 3 * 3


def run_pipeline_noting(case: Case, prepared: list) -> dict[str, Tensor]:
    """The run; what the network prepares from each window's conditions goes into the list."""
    from dwm.networks import CrossviewTemporalUNet

    original = CrossviewTemporalUNet.prepare

    def prepare(self, *arguments):
        prepared.append(original(self, *arguments))
        return prepared[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CrossviewTemporalUNet, "prepare", prepare)
        return run_pipeline(case, SETUP)


def test_one_window_of_diffusion_forcing_gives_its_first_frame(vectors, tmp_path: Path) -> None:
    """It takes the steps that a queue takes until its first frame is finished."""
    source = vectors("pipelines/unet_ddim_forcing")
    timed = ("3dbox_images", "hdmap_images", "camera_intrinsics", "camera_transforms", "image_size", "pts")
    case = changed(
        source,
        tmp_path / "case",
        {"method": "inference_pipeline", "reduced_outputs": {}},
        inputs=lambda tensors: {name: t[:, :3] if name in timed else t for name, t in tensors.items()},
        outputs=lambda tensors: {"images": tensors["images"][:3], "call0.latents": tensors["call1.latents"]},
    )
    words = json.loads((source / "inputs.json").read_text())["clip_text"]
    (case.folder / "inputs.json").write_text(json.dumps({"clip_text": [clip[:3] for clip in words]}))
    judged = result(case)
    assert judged.passed, (judged.note, judged.worst)


def test_diffusion_forcing_takes_given_frames_as_its_whole_queue(vectors, tmp_path: Path) -> None:
    pictures = torch.rand(1, 5, 3, 3, 32, 48, generator=torch.Generator().manual_seed(5))

    def case(name: str, count: int) -> Case:
        inference = {"generate_frames_for_reference": False, "reference_frame_count": count}
        return changed(
            vectors("pipelines/unet_ddim_forcing"),
            tmp_path / name,
            {"config": {"pipeline": {"inference_config": inference}}, "reduced_outputs": {}},
            inputs=lambda tensors: tensors | {"vae_images": pictures},
            outputs=lambda _: {name: torch.zeros(1) for name in ("images", "draw0")},
        )

    found = run_pipeline(case("whole", 3), SETUP)
    assert len(found["images"]) == 15 and found["draw0"].shape[1] == 1
    assert "2 given frames: diffusion forcing as published takes 3" in result(case("part", 2)).note


def test_motion_is_that_of_the_sensors_that_the_config_names(vectors, tmp_path: Path) -> None:
    def first(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors | {"ego_transforms": tensors["ego_transforms"].roll(-1, 2)}

    sensors = {"common_config": {"camera_ego_sensor_indices": [0, 1, 2]}}
    source = vectors("pipelines/window_layout_action")
    assert result(changed(source, tmp_path / "named", {"config": {"pipeline": sensors}}, inputs=first)).passed
    unnamed = result(changed(source, tmp_path / "unnamed", inputs=first))
    assert "call0.added_time_ids" in {d.tensor for d in unnamed.deviations if not d.passed}


def test_boxes_without_a_map_are_told_alone(vectors, tmp_path: Path) -> None:
    boxes = torch.rand(1, 1, 6, 3, 48, 80)
    case = changed(
        vectors("pipelines/images"),
        tmp_path / "case",
        inputs=lambda tensors: tensors | {"3dbox_images": boxes},
        outputs=lambda tensors: tensors | {"call0.condition_image_tensor": torch.cat([torch.zeros_like(boxes), boxes])},
    )
    judged = result(case)
    assert judged.passed, (judged.note, judged.worst)


def test_the_unet_spreads_the_first_layout_over_all_frames(vectors, tmp_path: Path) -> None:
    source = vectors("pipelines/unet_ddim_forcing")

    def still(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        first = {name: tensors[name][:, :1].expand_as(tensors[name]) for name in ("3dbox_images", "hdmap_images")}
        return tensors | first

    first = {"config": {"pipeline": {"common_config": {"condition_on_all_frames": False}}}}
    each, alone = (
        run_pipeline(changed(source, tmp_path / name, change, inputs=still), SETUP)
        for name, change in (("each", {}), ("alone", first))
    )
    torch.testing.assert_close(each["images"], alone["images"], **CLOSE)
    assert alone["call0.condition_image_tensor"].numel() < each["call0.condition_image_tensor"].numel()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"pipeline": {"inference_config": {"scheduler": "diffusers.EulerDiscreteScheduler"}}},
            "cannot be computed; known",
        ),
        ({"pipeline": {"inference_config": {"inference_steps": None}}}, "lacks inference_steps"),
        ({"pipeline": {"_class_name": "dwm.pipelines.unimlvg.Unimlvg"}}, "Unimlvg' cannot be computed"),
        ({"pipeline": {"model": {"_class_name": "dwm.models.other.Net"}}}, "not known"),
        ({"pipeline": {"model_dtype": {"class_name": "torch.float16"}}}, "model_dtype"),
        ({"pipeline": {"common_config": {"autocast": {"device_type": "cpu"}}}}, "autocast"),
        ({"pipeline": None}, "config has no pipeline"),
    ],
)
def test_a_generation_that_cannot_be_computed_is_told(vectors, tmp_path: Path, change: dict, line: str) -> None:
    judged = result(changed(vectors("pipelines/images"), tmp_path / "case", {"config": change}))
    assert not judged.passed and line in judged.note and "\n" not in judged.note


def test_training_with_a_mask_module_draws_its_places_last(vectors, tmp_path: Path) -> None:
    """With nothing dropped and the refill before the first block, the step is the recorded one."""
    source = vectors("training/reference_augmentation")
    model = json.loads((source / "case.json").read_text())["config"]["pipeline"]["model"]
    heads, width = model["num_attention_heads"], model["attention_head_dim"]
    mask = {
        "_class_name": "dwm.models.mask_layers.MaskController",
        "num_heads": heads,
        "attention_head_dim": width,
        "decode_layer": model["num_layers"],
        "mask_ratio": 0.0,
        "use_origin_mask_token": {"type": "trans", "target": ["noise", "learnable"]},
        "decoder_pos_embed_recipe": "shared",
    }
    case = changed(source, tmp_path / "case", {"config": {"pipeline": {"model": {"mask_module": mask}}}})
    pipeline = {**case.config["pipeline"], "model_checkpoint_path": "weights.safetensors"}
    from dwm.networks import CrossviewTemporalDiT
    from dwm.opendwm.config.networks import dit_options

    weights = load_file(vectors(case.config["pipeline"]["model_checkpoint_path"]))
    fresh = CrossviewTemporalDiT(dit_options(pipeline["model"])).state_dict()
    new = {name: value for name, value in fresh.items() if name.startswith("mask_module.")}
    assert set(fresh) == set(weights) | set(new)
    save_file(weights | new, case.folder / "weights.safetensors")
    data = {**case.data, "config": {**case.config, "pipeline": pipeline}}
    (case.folder / "case.json").write_text(json.dumps(data))
    judged = {deviation.tensor: deviation.passed for deviation in result(case).deviations}
    assert judged["step0.loss"] and judged["step0.model_output"]
