from collections import Counter

import numpy as np
import pytest

from dwm.errors import DwmError
from dwm.training.feed.concatenation import Joined
from dwm.training.feed.plan import Bucket, Plan

BIG, SMALL = Bucket((448, 256), 19, 2, share=0.6), Bucket((304, 176), 19, 4, share=0.4)


def epoch_of(plan, epoch):
    size = plan.steps * plan.accumulate
    return [plan.micro(number) for number in range(epoch * size, (epoch + 1) * size)]


@pytest.mark.parametrize("count", [1, 5, 23, 96])
def test_every_clip_is_in_every_epoch_and_only_the_filling_is_there_twice(count):
    plan = Plan([(np.arange(count), [BIG, SMALL])], accumulate=3, seed=4)
    for epoch in range(3):
        micros = epoch_of(plan, epoch)
        seen = Counter(clip for micro in micros for clip in micro.clips)
        assert set(seen) == set(range(count)) and {micro.epoch for micro in micros} == {epoch}
        filled = sum(seen.values()) - count
        assert filled < sum(3 * bucket.clips for bucket in plan.buckets)


def test_all_micro_batches_of_a_step_have_one_bucket_in_the_shares_that_were_asked_for():
    plan = Plan([(np.arange(1000), [BIG, SMALL])], accumulate=4, seed=0)
    micros = epoch_of(plan, 1)
    for start in range(0, len(micros), 4):
        assert len({micro.bucket for micro in micros[start : start + 4]}) == 1
    clips = Counter(micro.bucket for micro in micros for _ in micro.clips)
    assert clips[BIG] == 600 and clips[SMALL] == 400


def test_a_clip_changes_its_bucket_from_epoch_to_epoch():
    plan = Plan([(np.arange(60), [BIG, SMALL])], accumulate=1, seed=2)
    first, second = ({clip for m in epoch_of(plan, e) if m.bucket == BIG for clip in m.clips} for e in (0, 1))
    assert first != second


def test_a_number_alone_says_what_is_in_it():
    groups = [(np.arange(40), [BIG, SMALL]), (np.arange(40, 47), [Bucket((64, 64), 1, 6, views=1)])]
    whole = [Plan(groups, 2, seed=9).micro(number) for number in range(120)]
    again = Plan(groups, 2, seed=9)
    assert [again.micro(number) for number in reversed(range(120))] == whole[::-1]
    assert [Plan(groups, 2, seed=10).micro(number) for number in range(120)] != whole


def test_order_may_be_kept_or_repeated():
    bucket = Bucket((64, 64), 1, 2)
    kept = Plan([(np.arange(6), [bucket])], 1, seed=0, shuffle=False)
    assert [kept.micro(number).clips for number in range(4)] == [(0, 1), (2, 3), (4, 5), (0, 1)]
    fixed = Plan([(np.arange(6), [bucket])], 1, seed=0, fixed=True)
    assert [fixed.micro(n).clips for n in range(3)] == [fixed.micro(n).clips for n in range(3, 6)]
    assert [fixed.micro(n).epoch for n in (2, 3)] == [0, 1]


def test_weighted_sets_hold_every_clip_and_stand_in_their_shares():
    joined = Joined.of([300, 20, 45], [0.5, 0.3, 0.2])
    places = [joined.locate(clip) for clip in range(len(joined))]
    assert set(places) == {(s, i) for s, n in enumerate((300, 20, 45)) for i in range(n)}
    assert len(joined) == 600
    assert [sum(1 for s, _ in places if s == which) for which in range(3)] == [300, 180, 120]
    plain = Joined.of([3, 2])
    assert [plain.locate(clip) for clip in range(5)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


@pytest.mark.parametrize(
    "lengths, ratios", [((11, 3), (0.7, 0.3)), ((1, 1, 1), (5, 1, 1)), ((7, 13, 29), (0.1, 0.6, 0.3))]
)
def test_rounding_leaves_no_clip_out(lengths, ratios):
    joined = Joined.of(lengths, ratios)
    assert {joined.locate(clip) for clip in range(len(joined))} == {
        (s, i) for s, n in enumerate(lengths) for i in range(n)
    }


def test_faults_of_the_mix_are_told():
    with pytest.raises(DwmError, match="a ratio is given for some sets only"):
        Joined.of([3, 4], [1.0, None])
    with pytest.raises(DwmError, match="no clip to train on"):
        Plan([(np.arange(0), [BIG])], 1, 0)
