"""Long videos with a network that knows the answer: every frame must come out as its own conditions say."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dwm.base_models import Autoencoder, TextEmbedding
from dwm.clip_batch import ClipBatch
from dwm.conditions import ConditionOptions
from dwm.diffusion import FlowMatchEuler
from dwm.errors import DwmError
from dwm.generation.forcing import force_as_published, force_frames
from dwm.generation.rollout import roll_out, windows
from dwm.generation.sampler import Sampler
from dwm.generation.streaming import Stream


class Lengths:
    """A text source whose embedding is a prompt's length."""

    def encode(self, prompts, gradients=False) -> TextEmbedding:
        lengths = torch.tensor([float(len(prompt)) for prompt in prompts])
        return TextEmbedding(lengths[:, None, None], lengths[:, None])


class Oracle(nn.Module):
    """Predicts the velocity towards each picture's prompt length; notes the times that it is told."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.times: list[list[int]] = []

    def prepare(self, told, latent_shape):
        return told.pooled[..., 0]

    def forward(self, sample, time, prepared):
        self.times.append(time[-1, :, 0].round().int().tolist())
        sigma = (time / 1000)[..., None, None, None]
        velocity = (sample - prepared[..., None, None, None]) / sigma.clamp(min=1e-6)
        return torch.where(sigma > 0, velocity, 0.0)


class Plain(Autoencoder):
    """Changes nothing but keeps one channel of a picture."""

    def __init__(self):
        super().__init__(torch.nn.Identity())

    def latent_shape(self, frames, views, size):
        return frames, views, 1, 2, 2

    def latent_frames(self, frames):
        return frames

    def encode(self, frames):
        return frames[:, :, :, :1]

    def decode(self, latents):
        return latents.expand(-1, -1, -1, 3, -1, -1)


def make_batch(frames: int) -> ClipBatch:
    """Frame f is told a prompt of 10 + f letters; its photograph is all 100 + f."""
    b, v = 1, 2
    eye = torch.eye(4).expand(b, frames, v, 4, 4)
    shown = (100.0 + torch.arange(frames))[None, :, None, None, None, None].expand(b, frames, v, 3, 2, 2)
    return ClipBatch(
        fps=torch.ones(b),
        times=torch.zeros(b, frames, v),
        intrinsics=eye[..., :3, :3],
        ego_from_camera=eye,
        world_from_ego=eye,
        image_size=torch.ones(b, frames, v, 2),
        frames=shown,
        captions=(tuple(("x" * (10 + f),) * v for f in range(frames)),),
    )


def make_sampler(steps: int) -> Sampler:
    return Sampler(
        network=Oracle(),
        autoencoder=Plain(),
        text=Lengths(),
        options=ConditionOptions(boxes=False, map=False),
        solver=FlowMatchEuler.create(steps, 1.0),
        generator=torch.Generator().manual_seed(0),
        size=(2, 2),
    )


def values(pictures: torch.Tensor) -> list[int]:
    """One number a frame, after checking that all its views and places agree."""
    flat = pictures[0].flatten(1)
    torch.testing.assert_close(flat, flat[:, :1].expand_as(flat), atol=1e-3, rtol=0)
    return [round(value) for value in flat[:, 0].tolist()]


@pytest.mark.parametrize(
    ("frames", "length", "finished", "given"),
    [(4, 4, 0, 0), (9, 4, 0, 0), (9, 4, 1, 0), (9, 4, 2, 0), (9, 4, 0, 2), (9, 4, 2, 1), (9, 4, 1, 3), (2, 4, 0, 0)],
)
@torch.no_grad()
def test_forcing_makes_every_frame_by_its_own_conditions(frames: int, length: int, finished: int, given: int) -> None:
    sampler = make_sampler(12)
    made = torch.stack(list(force_frames(sampler, make_batch(frames), length, finished, given)), 1)
    assert values(made) == [100 + f if f < given else 10 + f for f in range(frames)]


@torch.no_grad()
def test_forcing_staggers_noise_and_finished_frames_rest() -> None:
    sampler = make_sampler(4)
    list(force_frames(sampler, make_batch(5), 2, 0))
    told = sampler.network.times
    assert told[:3] == [[1000, 1000], [750, 1000], [500, 1000]]  # the second frame sets out two steps after the first
    assert told[3] == [250, 750] and all(later <= 750 or earlier <= 500 for earlier, later in told[3:-1])
    assert all(times[0] == 0 or times[0] < times[1] for times in told[3:])
    assert told[-1][0] == 0


@torch.no_grad()
def test_forcing_as_published_skips_the_conditions_of_kept_frames() -> None:
    sampler = make_sampler(12)
    made = [picture for _, picture in force_as_published(sampler, make_batch(9), 4, clear=1)][1:]
    assert values(torch.stack(made, 1)) == [10, *range(12, 19)]
    with pytest.raises(DwmError, match="more than the 4"):
        list(force_as_published(sampler, make_batch(4), 4))


def test_steps_must_divide() -> None:
    with pytest.raises(DwmError, match="multiple of 3"):
        list(force_frames(make_sampler(4), make_batch(9), 4, 1))


@pytest.mark.parametrize(("frames", "overlap", "given"), [(4, 1, 0), (10, 1, 0), (9, 2, 0), (10, 2, 3), (12, 0, 1)])
@torch.no_grad()
def test_windows_make_every_frame_by_its_own_conditions(frames: int, overlap: int, given: int) -> None:
    made = roll_out(make_sampler(3), make_batch(frames), 4, overlap, given)
    assert values(made) == [100 + f if f < given else 10 + f for f in range(frames)]


def test_windows_cover_all_frames() -> None:
    assert windows(10, 4, 2) == [(0, 0), (2, 2), (4, 2), (6, 2)]
    assert windows(9, 4, 1) == [(0, 0), (3, 1), (5, 2)] and windows(9, 4, 1, whole=False) == [(0, 0), (3, 1)]
    assert windows(35, 19, 3, whole=False) == [(0, 0), (16, 3)]
    for frames, length, overlap in ((3, 4, 1), (8, 4, 4)):
        with pytest.raises(DwmError):
            windows(frames, length, overlap)


@torch.no_grad()
def test_clips_of_one_batch_do_not_mix() -> None:
    one = make_batch(9)
    captions = tuple(tuple(tuple(text + "xx" for text in row) for row in clip) for clip in one.captions)
    tensors = {
        name: torch.cat([value, value])
        for name in ("fps", "times", "intrinsics", "ego_from_camera", "world_from_ego", "image_size", "frames")
        if (value := getattr(one, name)) is not None
    }
    both = replace(one, captions=one.captions + captions, **tensors)
    made = roll_out(make_sampler(3), both, 4, 2)
    assert values(made[:1]) == list(range(10, 19)) and values(made[1:]) == list(range(12, 21))


@torch.no_grad()
def test_a_stream_gives_every_frame_after_a_queue_length() -> None:
    batch, stream = make_batch(6), Stream(make_sampler(6), 3)
    made = [stream.send(batch.frames_from(f, f + 1)) for f in range(6)]
    assert [picture is None for picture in made] == [True, True, False, False, False, False]
    made = [picture for picture in made if picture is not None] + list(stream.flush())
    assert values(torch.stack(made, 1)) == list(range(10, 16))
    told = stream.sampler.network.times
    assert told[-1][:2] == [0, 0]  # finished frames rest while the queue empties
    with pytest.raises(DwmError, match="at least 3"):
        list(Stream(make_sampler(6), 3).flush())


@torch.no_grad()
def test_a_stream_keeps_its_words_between_intervals() -> None:
    batch, stream = make_batch(6), Stream(make_sampler(6), 3, text_interval=2)
    made = [stream.send(batch.frames_from(f, f + 1)) for f in range(6)][2:] + list(stream.flush())
    assert values(torch.stack(made, 1)) == [10, 10, 12, 12, 14, 14]
