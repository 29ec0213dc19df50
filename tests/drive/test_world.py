"""A driving world: actions in, pictures out, by streaming or by windows, the same for the same drive."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dwm.checkpoints import SamplingOptions
from dwm.checkpoints.card import QueueOptions
from dwm.drive import Action, DrivingWorld, town_source
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.generation.live import QueuedVideo, RememberedText, StreamedVideo, WindowedVideo, live_video
from dwm.generation.streaming import joined

AUTOPILOT = Action(autopilot=True)


def with_sampling(pipe: DrivingPipeline, **changes) -> DrivingPipeline:
    card = pipe.card.with_(sampling=SamplingOptions(num_inference_steps=4, guidance_scale=2.0).with_(**changes))
    return DrivingPipeline(pipe.network, pipe.base, card)


def with_queue(pipe: DrivingPipeline, **changes) -> DrivingPipeline:
    pipe = with_sampling(pipe)
    return DrivingPipeline(pipe.network, pipe.base, pipe.card.with_(queue=QueueOptions(**changes), lengths=(1, 4, 8)))


@pytest.fixture(params=["windows", "stream", "queue"])
def world(pipe: DrivingPipeline, request: pytest.FixtureRequest) -> DrivingWorld:
    if request.param == "queue":
        pipe = with_queue(pipe)
    else:
        pipe = with_sampling(pipe, style=request.param, reference_frames=2)
    return DrivingWorld(pipe, town_source(7, 1), seed=5)


def drive(world: DrivingWorld, count: int, action: Action = AUTOPILOT) -> list:
    return [picture for _ in range(count) for picture in world.step(action)[0]]


def test_every_frame_is_drawn_once_and_in_order(world: DrivingWorld) -> None:
    pictures = drive(world, 13)
    assert [picture.frame for picture in pictures] == list(range(len(pictures)))
    assert len(pictures) >= 13 - 3
    assert pictures[0].views.shape == (6, 16, 32, 3)
    assert [picture.moment.time for picture in pictures[:3]] == [0.25, 0.5, 0.75]


def test_the_same_drive_gives_the_same_pictures_and_another_seed_others(world: DrivingWorld) -> None:
    def once(seed: int) -> list[np.ndarray]:
        world.reset(seed)
        pictures = drive(world, 5)
        world.tell("night rain")
        pictures += drive(world, 3, Action(throttle=1.0, steer=0.2))
        world.tell(None)
        world.change(weather="rain")
        return [picture.views for picture in [*pictures, *drive(world, 4)]]

    first, again, other = once(5), once(5), once(6)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[-1], other[-1])


def test_steering_and_words_show_in_the_pictures(world: DrivingWorld) -> None:
    plain = drive(world, 10)
    world.reset()
    steered = drive(world, 4) + drive(world, 6, Action(throttle=1.0, steer=1.0))
    world.reset()
    told = drive(world, 4)
    world.tell("night rain")
    told += drive(world, 6)
    assert np.array_equal(plain[0].views, steered[0].views) and np.array_equal(plain[0].views, told[0].views)
    assert not np.array_equal(plain[-1].views, steered[-1].views)
    assert not np.array_equal(plain[-1].views, told[-1].views)


def test_what_a_world_holds_does_not_grow(world: DrivingWorld) -> None:
    def held() -> int:
        video = world.video
        if isinstance(video, QueuedVideo):
            return len(video.frames) + len(world.waiting)
        frames = video.waiting + video.history if isinstance(video, WindowedVideo) else video.stream.waiting
        return len(frames) + len(world.waiting)

    counts = []
    for _ in range(24):
        world.step(AUTOPILOT)
        counts.append(held())
    assert max(counts[16:]) == max(counts[8:16]) <= 8


def test_windows_are_what_a_roll_out_of_the_whole_drive_gives(pipe: DrivingPipeline) -> None:
    pipe = with_sampling(pipe, reference_frames=2)
    pipe = DrivingPipeline(pipe.network, pipe.base, pipe.card.with_(lengths=(4,)))
    world = DrivingWorld(pipe, town_source(7, 1), seed=5)
    assert "cannot stream" in world.way
    frames, send = [], world.video.send
    world.video.send = lambda frame: frames.append(frame) or send(frame)
    live = np.stack([picture.views for picture in drive(world, 8)])
    whole = pipe(joined(frames), seed=5, output_type="np")[0]
    assert np.abs(live - whole * 255).max() < 1.5, "but for how many texts are encoded at once"


def test_streaming_is_what_the_stream_gives(pipe: DrivingPipeline) -> None:
    pipe = with_sampling(pipe, style="stream")
    world = DrivingWorld(pipe, town_source(7, 1), seed=5)
    assert isinstance(world.video, StreamedVideo) and world.video.delay == 3
    frames, send = [], world.video.send
    world.video.send = lambda frame: frames.append(frame) or send(frame)
    live = np.stack([picture.views for picture in drive(world, 8)])
    whole = pipe(joined(frames), seed=5, output_type="np")[0]
    assert np.abs(live - whole[: len(live)] * 255).max() < 1.5, "but for how many texts are encoded at once"


def test_a_queue_draws_the_first_frame_at_once_and_then_one_for_each(pipe: DrivingPipeline) -> None:
    world = DrivingWorld(with_queue(pipe), town_source(7, 1), seed=5)
    assert isinstance(world.video, QueuedVideo) and "2 frames behind 2 finished ones" in world.way
    asked: list[tuple[int, int]] = []
    world.video.sampler.network.register_forward_pre_hook(lambda module, given: asked.append(given[0].shape[:2]))
    counts = [len(world.step(AUTOPILOT)[0]) for _ in range(8)]
    assert counts == [1, 0, 0, 2, 1, 1, 1, 1]
    # Both halves of guidance: four steps of the first frame, six of the first queue, then two for each frame.
    assert asked == [(2, 1)] * 4 + [(2, 4)] * (6 + 4 * 2)


def test_a_queue_without_finished_frames_is_a_stream(pipe: DrivingPipeline) -> None:
    queue = with_queue(pipe, length=4, finished=0)
    queue = DrivingPipeline(queue.network, queue.base, queue.card.with_(lengths=(4,)))
    stream = with_sampling(pipe, style="stream")
    one, other = (drive(DrivingWorld(each, town_source(7, 1), seed=5), 8) for each in (queue, stream))
    assert len(one) == len(other) == 5 and all(
        np.array_equal(a.views, b.views) for a, b in zip(one, other, strict=True)
    )


def test_windows_are_asked_for_by_their_overlap_or_by_steps_that_do_not_divide(pipe: DrivingPipeline) -> None:
    asked, odd = live_video(with_queue(pipe), overlap=2), live_video(with_queue(pipe), num_inference_steps=3)
    assert isinstance(asked, WindowedVideo) and asked.way.startswith("rolled out by windows of 4 frames")
    assert isinstance(odd, WindowedVideo)
    assert odd.way.startswith("3 steps do not divide among the 2 frames of a queue; rolled out")


def test_remembered_texts_are_the_encoders_own(pipe: DrivingPipeline) -> None:
    text = RememberedText(pipe.base.text)
    prompts = ["night", "rain", "night", ""]
    for _ in range(2):
        mine, theirs = text.encode(prompts), pipe.base.text.encode(prompts)
        assert torch.allclose(mine.sequence, theirs.sequence, atol=1e-5)
        assert torch.allclose(mine.pooled, theirs.pooled, atol=1e-5)
    text.encode([f"rain {number}" for number in range(100)])
    assert len(text.known) <= 64


def test_what_the_weights_cannot_do_is_refused(pipe: DrivingPipeline) -> None:
    with pytest.raises(DwmError, match="size 48x32 was never seen"):
        DrivingWorld(pipe, town_source(7, 1), size=(48, 32))
    with pytest.raises(DwmError, match="none longer than the 4"):
        live_video(pipe, overlap=4)
    world = DrivingWorld(pipe, town_source(7, 1))
    with pytest.raises(DwmError, match="10000 letters"):
        world.tell("x" * 10_000)
