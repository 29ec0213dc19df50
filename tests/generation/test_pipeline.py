from pathlib import Path

import numpy as np
import pytest
import torch

from array_pictures import ArrayPictures
from dwm.clip import Boxes, Caption, Clip, LaneMap, Rig
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.report import Video

VIEWS = ("LEFT", "FRONT", "RIGHT")


def make_clip(frames: int = 4, views: tuple[str, ...] = VIEWS) -> Clip:
    """A car ahead of a standing rig that looks around, photographed as noise."""
    v = len(views)
    rng = np.random.default_rng(0)
    look = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)
    camera = np.eye(4)
    camera[:3, :3], camera[2, 3] = look, 1.5
    boxes = Boxes(np.array([[8.0, 0, 1]]), np.array([[4.0, 2, 2]]), np.eye(3)[None], ("vehicle.car",), ("a",))
    rig = Rig(
        views,
        np.tile(np.array([[16.0, 0, 16], [0, 16, 8], [0, 0, 1]]), (v, 1, 1)),
        np.tile(camera, (v, 1, 1)),
        np.tile(np.array([32, 16]), (v, 1)),
    )
    poses = np.tile(np.eye(4), (frames, v, 1, 1))
    poses[..., 0, 3] = np.arange(frames)[:, None]
    return Clip(
        scene="test",
        fps=4.0,
        rig=rig,
        times=np.tile(np.arange(frames)[:, None] * 250_000, (1, v)),
        world_from_ego=poses,
        pictures=ArrayPictures(rng.integers(0, 255, (frames, v, 16, 32, 3), dtype=np.uint8)),
        boxes=((boxes,) * v,) * frames,
        map=LaneMap({}),
        captions=((Caption(time="day", weather="clear"),) * v,) * frames,
    )


def test_one_seed_gives_one_video(pipe: DrivingPipeline) -> None:
    clip = make_clip()
    first, again, other = pipe(clip, seed=3), pipe(clip, seed=3), pipe(clip, seed=4)
    assert isinstance(first, Video) and first.frames.shape == (1, 4, 3, 3, 16, 32) and first.views == VIEWS
    assert torch.equal(first.frames, again.frames) and not torch.equal(first.frames, other.frames)
    assert torch.equal(pipe(clip, generator=torch.Generator().manual_seed(3)).frames, first.frames)


def test_words_reach_the_pictures_they_are_for(pipe: DrivingPipeline) -> None:
    clip = make_clip()
    plain = pipe(clip).frames
    assert torch.equal(pipe(clip, prompt="day. clear").frames, plain)
    night = pipe(clip, prompt="night. clear").frames
    assert not torch.equal(night, plain)
    assert torch.equal(pipe(clip, prompt=Caption(time="night")).frames, night)
    assert torch.equal(pipe(clip, prompt=["night. clear"] * 3).frames, night)
    assert torch.equal(pipe(clip, prompt=[["night. clear"] * 3] * 4).frames, night)
    assert not torch.equal(pipe(clip, negative_prompt="rain").frames, plain)
    for wrong in (["night"] * 2, [["night"] * 3] * 2, [["night"] * 2] * 4):
        with pytest.raises(DwmError, match="prompt"):
            pipe(clip, prompt=wrong)


def test_numbers_in_the_place_of_prompts_are_refused(pipe: DrivingPipeline, unchecked_types: None) -> None:
    with pytest.raises(DwmError, match="prompt"):
        pipe(make_clip(), prompt=[1, 2, 3])


def test_guidance_of_one_costs_half_and_leaves_the_negative_prompt_out(pipe: DrivingPipeline) -> None:
    clip = make_clip()
    seen: list[int] = []
    handle = pipe.network.register_forward_hook(lambda _, given, result: seen.append(len(given[0])))
    plain = pipe(clip, guidance_scale=1).frames
    pipe(clip, guidance_scale=3)
    handle.remove()
    assert seen == [1] * 4 + [2] * 4
    assert torch.equal(pipe(clip, guidance_scale=1, negative_prompt="rain").frames, plain)


def test_given_frames_come_back_and_shape_the_rest(pipe: DrivingPipeline) -> None:
    clip = make_clip()
    free, bound = pipe(clip).frames, pipe(clip, reference_frames=2).frames
    real = torch.from_numpy(clip.pictures.frames).permute(0, 1, 4, 2, 3)[None].float() / 255
    with torch.no_grad():
        shown = pipe.base.autoencoder.decode(pipe.base.autoencoder.encode(real[:, :2]))
    torch.testing.assert_close(bound[:, :2], shown, atol=1e-5, rtol=0)
    assert not torch.allclose(bound[:, 2:], free[:, 2:], atol=1e-3)
    with pytest.raises(DwmError, match="leaves nothing"):
        pipe(clip, reference_frames=4)


@pytest.mark.parametrize("frames", [7, 9])
def test_long_clips_take_several_windows(pipe: DrivingPipeline, frames: int) -> None:
    clip = make_clip(frames)
    video = pipe(clip)
    assert video.length == frames
    # What a window generates cannot depend on conditions behind it.
    changed = [["day. clear"] * 3] * (frames - 1) + [["night. rain"] * 3]
    other = pipe(clip, prompt=changed)
    assert torch.equal(other.frames[:, :4], video.frames[:, :4])
    assert not torch.equal(other.frames[:, -1], video.frames[:, -1])


def test_one_image_and_fewer_views(pipe: DrivingPipeline) -> None:
    assert pipe(make_clip(1)).frames.shape[1] == 1
    assert pipe(make_clip(4, ("LEFT", "FRONT"))).views == ("LEFT", "FRONT")


def test_what_was_never_seen_is_refused_unless_forced(pipe: DrivingPipeline) -> None:
    with pytest.raises(DwmError, match=r"48x16 was never seen by tiny \(seen: 32x16\)"):
        pipe(make_clip(), size=(48, 16))
    assert pipe(make_clip(), size=(48, 16), force=True).size == (48, 16)
    with pytest.raises(DwmError, match="3 frames were never seen"):
        pipe(make_clip(3))
    with pytest.raises(DwmError, match="1 views were never seen"):
        pipe(make_clip(4, ("FRONT",)))
    with pytest.raises(DwmError, match="order"):
        pipe(make_clip(4, ("RIGHT", "FRONT")))
    with pytest.raises(DwmError, match="not a multiple of 8"):
        pipe(make_clip(), size=(33, 16), force=True)


def test_callback_sees_and_replaces_latents(pipe: DrivingPipeline) -> None:
    times = []

    def zero(_, step: int, time: float, state: dict) -> dict:
        times.append((step, time))
        return {"latents": state["latents"] * 0}

    latents = pipe(make_clip(), callback_on_step_end=zero, output_type="latent")
    assert [step for step, _ in times] == [0, 1, 2, 3] and times[0][1] == 1000 and not latents.any()


def test_a_saved_pipeline_generates_the_same(pipe: DrivingPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "weights", torch_dtype=torch.float32)
    clip = make_clip()
    again = DrivingPipeline.from_pretrained(tmp_path / "weights")
    assert again.card == pipe.card
    assert torch.equal(again(clip).frames, pipe(clip).frames)
    pipe.save_pretrained(tmp_path / "weights")  # an older folder of weights is replaced
    half = DrivingPipeline.from_pretrained(tmp_path / "weights")
    assert (half(clip).frames - pipe(clip).frames).abs().max() < 0.1
    pipe.save_pretrained(tmp_path / "alone", with_base=False)
    assert not (tmp_path / "alone/vae").exists()
    DrivingPipeline.from_pretrained(tmp_path / "alone")
    assert not list(tmp_path.glob(".*"))


def test_faulty_folders_are_named(pipe: DrivingPipeline, tmp_path: Path) -> None:
    with pytest.raises(DwmError, match=r"holds no dwm\.json"):
        DrivingPipeline.from_pretrained(tmp_path / "nothing")
    pipe.save_pretrained(tmp_path / "weights")
    config = tmp_path / "weights/transformer/config.json"
    text = config.read_text()
    config.write_text(text.replace('"num_layers": 2', '"num_layers": 3'))
    with pytest.raises(DwmError, match=r"\d+ keys differ from its config\.json: missing transformer_blocks"):
        DrivingPipeline.from_pretrained(tmp_path / "weights")
    config.write_text(text.replace("CrossviewTemporalDiT", "os.system"))
    with pytest.raises(DwmError, match=r"'os.system' is not known"):
        DrivingPipeline.from_pretrained(tmp_path / "weights")
    (tmp_path / "weights/dwm.json").write_text('{"sizs": []}')
    with pytest.raises(DwmError, match=r"dwm\.json: sizs"):
        DrivingPipeline.from_pretrained(tmp_path / "weights")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("dear")
    with pytest.raises(DwmError, match="other files"):
        pipe.save_pretrained(tmp_path / "mine")
    assert (tmp_path / "mine/thesis.txt").exists()
