"""One stage of several shapes: fewer views and shorter clips in the shares that were asked for."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from pydantic import ValidationError
from tiny_run import InventedClips, options, train

from dwm.checkpoints.folder import read_card
from dwm.config.checks import check
from dwm.config.registry import find
from dwm.errors import DwmError
from dwm.runs.own_base import make_own_base, own_material
from dwm.runs.start import context
from dwm.runs.train import card
from dwm.training.stages.options import BatchOptions, BatchShape

MIX = (BatchShape(share=0.25, clips=2, frames=2, views=1), BatchShape(share=0.25, clips=1, frames=3, views=1))


def mixed(run, mix=MIX):
    return run.with_(training=run.training.with_(batch=run.training.batch.with_(mix=mix)))


@pytest.fixture(scope="module")
def run():
    return mixed(options(4)).with_(warmup=(), autoencoder=options(1).autoencoder[:1])


def test_clips_are_shared_out_to_the_shapes(run, tmp_path):
    run_context = context(run, tmp_path)
    own = make_own_base(run, InventedClips(8), run_context)
    (stage,) = run.driving_stages()
    feed = own_material(run, card(run), own, run_context).feed(stage)
    seen = Counter()
    for batch in islice(feed.batches(0), feed.plan.steps * stage.loop.accumulate):
        assert batch.latents.mean.shape[:3] == batch.clips.shape
        seen[batch.clips.shape[1:]] += batch.clips.shape[0]
    assert seen == {(stage.batch.frames, 2): 4, (2, 1): 2, (3, 1): 2}


def test_a_stage_of_several_shapes_is_trained_and_its_card_names_them(run, tmp_path):
    seen = read_card(train(run, tmp_path))
    assert seen.lengths == (2, 3) and seen.view_counts == (1, 2)


def test_shares_must_leave_something_for_the_batch_itself():
    with pytest.raises(ValidationError, match="leave some clips"):
        BatchOptions(mix=(BatchShape(share=0.6), BatchShape(share=0.5)))


def test_a_run_on_a_base_model_is_told_of_its_own_mix():
    run = find("sd35-layout-nuscenes")
    single = BatchShape(share=0.2, frames=run.training.batch.frames, views=1)
    with pytest.raises(DwmError, match=r"give data\.mix instead"):
        check(mixed(run, (single,)), "mine")


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (BatchShape(share=0.2, frames=3, views=7), r"batch\.mix\.0\.views is 7, but clips have 2 views"),
        (BatchShape(share=0.2, frames=4), r"training\.batch\.mix is 4, but clips have data\.train\.0\.frames = 3"),
    ],
)
def test_a_shape_larger_than_the_clips_is_refused(shape, sentence):
    with pytest.raises(DwmError, match=sentence):
        check(mixed(options(1), (shape,)), "mine")


def test_the_card_names_what_was_seen_before_and_now():
    seen = card(find("town-more"))
    assert seen.lengths == (1, 4, 8) and seen.view_counts == (1, 3, 6)
