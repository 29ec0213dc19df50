"""The score's network learns to read pictures, from a real cache of small clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dwm.clip import NUSCENES_VIEWS, ArrayPictures, Boxes, Caption, Clip, LaneMap, Rig
from dwm.evaluation.features import FeatureOptions, load_network
from dwm.training.clips import ClipCache, fill
from dwm.training.feature_network import damaged, telling_words, train_features
from dwm.training.loop import LoopOptions
from dwm.training.optimizers import OptimizerOptions

VIEWS = NUSCENES_VIEWS[:2]
SMALL = FeatureOptions(size=(32, 16), widths=(8, 16), features=8)
NO_BOXES = Boxes(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3, 3)), (), ())


class Days:
    """Bright days and dark nights, a little different each."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Clip:
        night = index % 2
        rng = np.random.default_rng(index)
        frames = (rng.integers(0, 60, (2, 2, 16, 32, 3)) + (20 if night else 160)).astype(np.uint8)
        camera = np.array([[20.0, 0, 16], [0, 20, 8], [0, 0, 1]])
        rig = Rig(VIEWS, np.tile(camera, (2, 1, 1)), np.tile(np.eye(4), (2, 1, 1)), np.tile([32, 16], (2, 1)))
        caption = Caption(time="night" if night else "day", weather="clear")
        return Clip(
            f"scene-{index}",
            4.0,
            rig,
            np.arange(2)[:, None].repeat(2, 1) * 250_000,
            np.tile(np.eye(4), (2, 2, 1, 1)),
            ArrayPictures(frames),
            ((NO_BOXES,) * 2,) * 2,
            LaneMap({}),
            ((caption,) * 2,) * 2,
        )


@pytest.fixture
def cache(tmp_path: Path) -> ClipCache:
    fill(tmp_path / "cache", Days(), (32, 16))
    return ClipCache(tmp_path / "cache")


def test_words_that_all_clips_share_are_not_asked(cache: ClipCache):
    assert telling_words(cache, 16) == ("day", "night")


def test_it_learns_to_tell_night_from_day(cache: ClipCache, tmp_path: Path):
    loop = LoopOptions(steps=40, ema_decay=0.9, optimizer=OptimizerOptions(lr=5e-3), save_every=40)
    train_features(cache, 12, tmp_path / "run", tmp_path / "features", loop, SMALL)
    network = load_network(tmp_path / "features")
    pictures = torch.cat([cache.clip(index).frames[0, 0] for index in (12, 13, 14, 15)])
    with torch.no_grad():
        said = network.words(network(pictures).mean(dim=(2, 3)))
    assert (said[:, 1] > said[:, 0]).tolist() == [False, False, True, True] * 2


def test_damage_blurs_every_second_picture():
    pictures = torch.rand(4, 3, 16, 32, generator=torch.Generator().manual_seed(0))
    result, blur = damaged(pictures, 3.0, torch.Generator().manual_seed(1))
    assert torch.equal(result[1::2], pictures[1::2]) and (blur[1::2] == 0).all() and (blur[::2] > 0).all()
    assert result[::2].diff(dim=-1).abs().mean() < pictures[::2].diff(dim=-1).abs().mean()
