import os
import signal
from dataclasses import fields, replace
from itertools import islice

import numpy as np
import pytest
import torch
from tiny_run import CONDITIONS, InventedClips, network_options

from dwm.base_models import Moments, TextEncoder
from dwm.conditions import build_conditions
from dwm.data import CaptionOptions
from dwm.data.readers import Ask, WindowReader, jittered
from dwm.errors import DwmError
from dwm.networks import CrossviewTemporalDiT
from dwm.training.feed.batches import Feed
from dwm.training.feed.concatenation import Joined
from dwm.training.feed.plan import Bucket, Plan
from dwm.training.objectives.driving import ObjectiveOptions
from dwm.training.stages.driving import DrivingSettings, DrivingTask

SIZE = (32, 32)
WORDS = CaptionOptions(drop_rates={"image_description": 0.5})


class SingleView(InventedClips):
    def __getitem__(self, index):
        return super().__getitem__(index).part(slice(None), slice(0, 1))


class Broken(InventedClips):
    def __getitem__(self, index):
        raise DwmError("samples/CAM_FRONT/1.jpg: is no whole picture")


def reader(clips, views=2, **changes):
    return WindowReader(clips, clips.frames, views, words=WORDS, **changes)


def feed(readers, buckets, accumulate=1, workers=0, **changes):
    joined = Joined.of([len(one) for one in readers])
    groups = [
        (np.array(joined.range(which)), [replace(bucket, views=one.views) for bucket in buckets])
        for which, one in enumerate(readers)
    ]
    return Feed(readers, joined, Plan(groups, accumulate, seed=3), seed=3, workers=workers, **changes)


def same(a, b):
    for item in fields(a.clips):
        left, right = getattr(a.clips, item.name), getattr(b.clips, item.name)
        assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right, item.name
    return a.origins == b.origins


def test_workers_and_ranks_change_nothing():
    buckets = [Bucket(SIZE, 2, 2, 0.5), Bucket((48, 16), 3, 1, 0.5)]
    whole = list(islice(feed([reader(InventedClips(7))], buckets, 2).batches(0), 16))
    workers = feed([reader(InventedClips(7))], buckets, 2, workers=2)
    assert all(same(a, b) for a, b in zip(whole, islice(workers.batches(0), 16), strict=True))
    for rank in range(4):
        part = islice(feed([reader(InventedClips(7))], buckets, 2).batches(rank, 4), 4)
        assert all(same(a, b) for a, b in zip(whole[rank::4], part, strict=True))
    resumed = islice(workers.batches(9), 3)
    assert all(same(a, b) for a, b in zip(whole[9:12], resumed, strict=True))


def test_single_views_and_rigs_come_in_batches_of_their_own():
    readers = [reader(InventedClips(4)), reader(SingleView(3), views=1)]
    batches = list(islice(feed(readers, [Bucket(SIZE, 2, 1)]).batches(0), 7))
    assert sorted(batch.clips.shape for batch in batches) == [(1, 2, 1)] * 3 + [(1, 2, 2)] * 4


def test_words_change_with_the_epoch_and_nothing_else_does():
    one = reader(InventedClips(2))
    said = {one.read(Ask(1, SIZE, epoch)).clips.captions for epoch in range(12)}
    assert len(said) > 1
    assert one.read(Ask(1, SIZE, 5)).clips.captions == one.read(Ask(1, SIZE, 5)).clips.captions
    keys = [one.read(Ask(1, SIZE, epoch)).keys for epoch in range(2)]
    assert np.array_equal(*keys)


def test_a_part_has_the_keys_words_and_pictures_of_the_whole():
    one = WindowReader(InventedClips(2), 3, 2)
    whole, part = one.read(Ask(1, SIZE)), one.read(Ask(1, SIZE, 0, slice(1, 3), slice(1, 2)))
    assert np.array_equal(part.keys, whole.keys[1:3, 1:2])
    assert torch.equal(part.clips.frames, whole.clips.frames[:, 1:3, 1:2])
    assert torch.equal(part.clips.layout_boxes, whole.clips.layout_boxes[:, 1:3, 1:2])
    assert part.clips.captions[0] == tuple(row[1:2] for row in whole.clips.captions[0][1:3])


def test_jitter_changes_colours_within_bounds_and_is_the_same_again():
    frames = torch.rand(1, 2, 2, 3, 8, 8) * 0.6 + 0.2
    found = [jittered(frames, (0.02, 0.03, 0.03), np.random.RandomState(seed)) for seed in (1, 1, 2)]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert 0.001 < (found[0] - frames).abs().max() < 0.08
    assert torch.equal(jittered(frames, (0, 0, 0), np.random.RandomState(1)), frames)
    plain, changed = (reader(InventedClips(2), jitter=j).read(Ask(0, SIZE)) for j in (None, (0.2, 0.2, 0.2)))
    assert not torch.equal(plain.clips.frames, changed.clips.frames)


def test_a_source_says_which_views_see_each_other_and_they_alone_do():
    apart = reader(InventedClips(2), crossview_mask=((True, False), (False, True)))
    torch.manual_seed(0)
    network = CrossviewTemporalDiT(network_options()).eval()

    def predicted(one, changed):
        clips = one.read(Ask(0, SIZE)).clips
        text = _Words()
        latents = torch.randn(1, 3, 2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
        latents[:, :, 1] += changed
        told = build_conditions(clips.to("cpu"), CONDITIONS, text)  # bytes become floats, as in training
        with torch.no_grad():
            return network(latents, torch.full((1, 3, 2), 500.0), network.prepare(told, latents.shape))[:, :, 0]

    together = reader(InventedClips(2))
    assert torch.equal(predicted(apart, 0), predicted(apart, 5))
    assert not torch.allclose(predicted(together, 0), predicted(together, 5))


class _Words:
    def encode(self, prompts, gradients=False):
        from dwm.base_models import TextEmbedding

        return TextEmbedding(torch.zeros(len(prompts), 12, 32), torch.zeros(len(prompts), 32))


def test_clips_that_say_less_stand_beside_those_that_say_more():
    class Wordless(InventedClips):
        def __getitem__(self, index):
            return replace(super().__getitem__(index), captions=None)

    readers = [reader(Wordless(1)), reader(InventedClips(1), uncalibrated=True)]
    joined = Joined.of([1, 1])
    plan = Plan([(np.arange(2), [Bucket(SIZE, 3, 2)])], 1, seed=0, shuffle=False)
    batch = Feed(readers, joined, plan, seed=0).batch(0)
    assert batch.clips.is_uncalibrated.tolist() == [False, True]
    assert batch.clips.captions[0] == (("",) * 2,) * 3 and batch.clips.captions[1][0][0].startswith("night")


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_data_is_told_in_one_line_whoever_reads_it(workers):
    with pytest.raises(DwmError, match=r"^samples/CAM_FRONT/1.jpg: is no whole picture$"):
        next(feed([reader(Broken(2))], [Bucket(SIZE, 2, 1)], workers=workers).batches(0))


def test_a_killed_worker_is_told_with_what_to_do():
    class Deadly(InventedClips):
        def __getitem__(self, index):
            if index == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(index)

    with pytest.raises(
        DwmError, match=r"a process that prepares clips was killed .* fewer data.workers than 2 .* --resume"
    ):
        list(islice(feed([reader(Deadly(4))], [Bucket(SIZE, 2, 1)], workers=2).batches(0), 8))


def test_work_and_identity_of_a_batch():
    latents = Moments(torch.zeros(1, 3, 2, 4, 4, 4))
    one = feed([reader(InventedClips(4))], [Bucket(SIZE, 3, 1)])
    task = DrivingTask(
        CrossviewTemporalDiT(network_options()), one, DrivingSettings(CONDITIONS, ObjectiveOptions()), text=_Encoder()
    )
    batch = replace(one.batch(0), latents=latents)
    work = task.work(batch)
    assert (work.clips, work.tokens) == (1, 3 * 2 * 2 * 2) and work.operations > 1e6
    assert task.work(replace(batch, latents=Moments(torch.zeros(2, 3, 2, 4, 4, 4)))).operations > 1.9 * work.operations
    assert task.identity(batch).startswith("scene-000") and " at 0" in task.identity(batch)
    assert len(task.blocks()) == 4


class _Encoder(TextEncoder):
    length = 12
