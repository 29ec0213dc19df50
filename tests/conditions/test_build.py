import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from dwm.base_models import BaseModel, TextEmbedding
from dwm.clip_batch import ClipBatch
from dwm.conditions import ConditionOptions, build_conditions, latent_times
from dwm.conditions.camera import view_matrices
from dwm.conditions.motion import action_ids
from dwm.errors import DwmError
from dwm.opendwm.parity.batches import condition_options, read_case_batch

RECORDED = {
    "encoder_hidden_states": lambda c: c.text[:, :, :, ::22],
    "pooled_projections": lambda c: c.pooled,
    "condition_image_tensor": lambda c: c.layout[..., 3::8, 3::8],
    "added_time_ids": lambda c: c.added_ids,
    "camera_intrinsics_norm": lambda c: c.intrinsics_norm,
    "camera2referego": lambda c: c.ego0_from_camera,
}


@pytest.fixture(scope="module")
def recorded_text(vectors):
    return BaseModel.load(vectors("base_models/sd3"), autoencoder=False).text


@pytest.mark.parametrize(
    "name", ["images", "window_layout_action", "rollout_given_frames", "temporal_vae", "explicit_view"]
)
def test_recorded_conditions(vectors, recorded_text, name: str) -> None:
    folder = vectors(f"pipelines/{name}")
    case = json.loads((folder / "case.json").read_text())
    pipeline = case["config"]["pipeline"]
    options = condition_options(pipeline["common_config"], load_file(folder / "inputs.safetensors"))
    frames = pipeline["inference_config"].get("sequence_length_per_iteration")
    batch = read_case_batch(folder, case)
    batch = batch if frames is None else batch.frames_from(0, frames)
    told = build_conditions(batch, options, recorded_text, guidance=True, latent_frames=case["latent_shape"][1])
    recorded = load_file(folder / "outputs.safetensors")
    compared = 0
    for key, read in RECORDED.items():
        if f"call0.{key}" in recorded:
            expected = recorded[f"call0.{key}"]
            found = read(told)[:, : expected.shape[1], : expected.shape[2]]
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4, msg=lambda m, k=key: f"{k}: {m}")
            compared += 1
    assert compared >= 2


class Letters:
    """A text source that tells which prompt came where: the embedding is its length."""

    def encode(self, prompts, gradients=False) -> TextEmbedding:
        lengths = torch.tensor([float(len(prompt)) for prompt in prompts])
        return TextEmbedding(lengths[:, None, None].expand(-1, 2, 3), lengths[:, None])


def make_batch(b: int = 2, t: int = 3, v: int = 2) -> ClipBatch:
    generator = torch.Generator().manual_seed(5)
    poses = torch.eye(4).repeat(b, t, v, 1, 1)
    poses[..., 0, 3] = torch.arange(t, dtype=torch.float32)[:, None] * 2 + 100
    return ClipBatch(
        fps=torch.full((b,), 4.0),
        times=torch.zeros(b, t, v),
        intrinsics=torch.tensor([[800.0, 0, 400], [0, 600, 300], [0, 0, 1]]).expand(b, t, v, 3, 3),
        ego_from_camera=torch.eye(4).expand(b, t, v, 4, 4),
        world_from_ego=poses,
        image_size=torch.tensor([1600, 900]).expand(b, t, v, 2),
        layout_boxes=torch.rand(b, t, v, 3, 8, 16, generator=generator),
        layout_map=torch.rand(b, t, v, 3, 8, 16, generator=generator),
        captions=tuple(tuple(tuple("x" * (1 + i + j + k) for k in range(v)) for j in range(t)) for i in range(b)),
        crossview_mask=torch.ones(b, v, v, dtype=torch.bool),
    )


OPTIONS = ConditionOptions(added_time_ids="fps_camera_transforms_action", uncondition_image_color=0.25)


def test_prompts_keep_their_places_and_motion_is_right() -> None:
    told = build_conditions(make_batch(), OPTIONS, Letters())
    assert told.pooled[..., 0].tolist() == [[[1, 2], [2, 3], [3, 4]], [[2, 3], [3, 4], [4, 5]]]
    assert told.added_ids.shape == (2, 3, 2, 13) and OPTIONS.id_count == 13
    fps, fx, fy, cx, cy = told.added_ids[0, 0, 0, :5].tolist()
    assert (
        (fps, cx, cy) == (4, 0.25, pytest.approx(1 / 3))
        and fx == pytest.approx(800 / 900)
        and fy == pytest.approx(2 / 3)
    )
    speed, steering = told.added_ids[..., -2], told.added_ids[..., -1]
    torch.testing.assert_close(speed, torch.full_like(speed, 2 * 4 * 3.6))
    torch.testing.assert_close(steering, torch.zeros_like(steering))


def test_the_unconditional_half_knows_only_the_cameras() -> None:
    batch = make_batch()
    told = build_conditions(batch, OPTIONS, Letters(), guidance=True, negative_prompt="blurry")
    assert told.text.shape == (4, 3, 2, 2, 3) and (told.pooled[:2] == 6).all() and told.pooled[2, 0, 0] == 1
    assert (told.layout[:2] == 0.25).all() and torch.equal(told.layout[2:, :, :, :3], batch.layout_boxes)
    assert torch.equal(told.added_ids[:2, ..., :-2], told.added_ids[2:, ..., :-2])
    assert (told.added_ids[:2, ..., -2:] == -1000).all() and (told.added_ids[2:, ..., -2:] != -1000).all()
    assert told.crossview_mask.shape == (4, 2, 2) and told.disable_temporal.tolist() == [False] * 4


def test_dropping_leaves_the_batch_alone() -> None:
    batch = make_batch()
    boxes = batch.layout_boxes.clone()
    first = torch.tensor([True, False])
    told = build_conditions(
        batch, OPTIONS, Letters(), keep={"text": first, "boxes": first, "map": ~first, "action": first}
    )
    assert torch.equal(batch.layout_boxes, boxes)
    assert (told.pooled[1] == 0).all() and (told.pooled[0] > 0).all()
    assert (told.layout[1, :, :, :3] == 0.25).all() and (told.layout[0, :, :, 3:] == 0.25).all()
    assert torch.equal(told.layout[0, :, :, :3], boxes[0])
    assert (told.added_ids[1, ..., -2:] == -1000).all() and (told.added_ids[0, ..., -2:] != -1000).all()


def test_what_is_missing_is_not_conditioned_on() -> None:
    bare = replace(make_batch(), layout_boxes=None, layout_map=None, captions=None)
    told = build_conditions(bare, OPTIONS, Letters(), size=(16, 8))
    assert (told.pooled == 0).all() and told.layout.shape == (2, 3, 2, 6, 8, 16) and (told.layout == 0.25).all()
    with pytest.raises(DwmError, match="give the size"):
        build_conditions(bare, OPTIONS, Letters())


def test_motion_of_single_and_standing_frames() -> None:
    alone = build_conditions(make_batch(t=1), OPTIONS, Letters()).added_ids
    assert (alone[..., -2:] == -1000).all()
    batch = make_batch()
    streamed = build_conditions(
        batch.frames_from(1, 2), OPTIONS, Letters(), pose_before=batch.world_from_ego[:, 0]
    ).added_ids
    torch.testing.assert_close(streamed[..., -2], torch.full_like(streamed[..., -2], 28.8))
    standing = replace(batch, world_from_ego=batch.world_from_ego[:, :1].expand(-1, 3, -1, -1, -1))
    ids = build_conditions(standing, OPTIONS, Letters()).added_ids
    assert (ids[..., -2] == 0).all() and (ids[..., -1] == -1000).all()


def test_uncalibrated_clips_have_identity_matrices() -> None:
    batch = replace(make_batch(), is_uncalibrated=torch.tensor([False, True]))
    told = build_conditions(batch, ConditionOptions(explicit_view_modeling=True), Letters())
    assert torch.equal(told.intrinsics_norm[1], torch.eye(3).expand(3, 2, 3, 3))
    assert told.ego0_from_camera[0, :, 0, 0, 3].tolist() == [0, 2, 4]
    assert told.intrinsics_norm[0, 0, 0, 0, 0] == 0.5


def test_latents_that_stand_for_several_frames() -> None:
    assert latent_times(17, 5) == [0, 1, 5, 9, 13] and latent_times(8, None) == list(range(8))
    with pytest.raises(DwmError, match="cannot be shared out"):
        latent_times(10, 4)


def test_a_pose_without_an_inverse_is_told() -> None:
    batch = replace(flat_batch(2), world_from_ego=torch.zeros(1, 2, 1, 4, 4))
    with pytest.raises(DwmError, match="a pose of the car"):
        view_matrices(batch)
    with pytest.raises(DwmError, match="a pose of the car"):
        action_ids(batch)


def flat_batch(frames: int) -> ClipBatch:
    eye = torch.eye(4).expand(1, frames, 1, 4, 4)
    return ClipBatch(
        torch.ones(1),
        torch.zeros(1, frames, 1),
        eye[..., :3, :3],
        eye,
        eye,
        torch.ones(1, frames, 1, 2, dtype=torch.long),
    )
