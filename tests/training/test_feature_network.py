"""The filters behind `town_fid` are learned from pictures alone, and notice what spoils them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from array_pictures import ArrayPictures
from dwm.clip import NUSCENES_VIEWS, Clip, Rig
from dwm.evaluation import FeatureOptions, PictureFeatures
from dwm.evaluation.features import load_network
from dwm.evaluation.town_fid_score import town_fid
from dwm.report import Video
from dwm.training.feature_network import FeatureLearning, learn, train_features
from dwm.training.feed.clip_cache import ClipCache, fill

OPTIONS = FeatureOptions(size=(64, 32), shrinks=(1, 2), filters=8)
LEARNING = FeatureLearning(pictures=24, patches=1500, rounds=8)


def stripes(count: int, seed: int) -> torch.Tensor:
    """Pictures of sharp upright stripes below a bright sky."""
    generator = torch.Generator().manual_seed(seed)
    bars = (torch.rand(count, 3, 1, 16, generator=generator) > 0.5).float().repeat_interleave(4, dim=3)
    return torch.cat([torch.full((count, 3, 12, 64), 0.8), bars.expand(-1, -1, 20, -1)], dim=2)


class Streets:
    """Two pictures of stripes each."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Clip:
        frames = (stripes(2, index)[None].movedim(2, -1).numpy() * 255).astype(np.uint8)
        eyes = [np.tile(np.eye(size), (2, 1, 1)) for size in (3, 4)]
        rig = Rig(NUSCENES_VIEWS[:2], *eyes, np.tile([64, 32], (2, 1)))
        return Clip(f"{index}", 4.0, rig, np.zeros((1, 2)), np.tile(np.eye(4), (1, 2, 1, 1)), ArrayPictures(frames))


def video(pictures: torch.Tensor) -> Video:
    return Video(pictures[:, None, None], 4.0, ("CAM_FRONT",))


@pytest.fixture(scope="module")
def features() -> PictureFeatures:
    return PictureFeatures(learn(stripes(64, 0), OPTIONS, LEARNING, torch.Generator().manual_seed(0)))


def test_features_of_the_pictures_learned_from_are_centred_and_scaled(features: PictureFeatures):
    found = features(video(stripes(64, 0)))
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std(dim=0), torch.ones(16), atol=1e-2, rtol=0)


def test_damage_is_further_away_than_other_pictures_of_the_same_kind(features: PictureFeatures):
    real, others = stripes(64, 1), stripes(64, 2)
    small = F.interpolate(others, scale_factor=1 / 3, mode="bilinear", antialias=True)
    spoiled = {
        "blurred": F.interpolate(small, (32, 64), mode="bilinear"),
        "noisy": others + 0.3 * torch.randn(others.shape, generator=torch.Generator().manual_seed(3)),
        "dark": others * 0.7,
        "upside down": others.flip(-2),
        "one colour": others.mean(dim=(2, 3), keepdim=True).expand_as(others),
    }
    same = town_fid(video(others), video(real), features).distance
    for name, pictures in spoiled.items():
        assert town_fid(video(pictures), video(real), features).distance > 2 * same, name


def test_learning_from_a_cache_repeats_and_survives_its_files(tmp_path: Path):
    fill(tmp_path / "cache", Streets(), (64, 32))
    cache = ClipCache(tmp_path / "cache")
    first = train_features(cache, 8, tmp_path / "features", OPTIONS, LEARNING)
    again = train_features(cache, 8, tmp_path / "again", OPTIONS, LEARNING)
    pictures = stripes(4, 9)
    assert torch.equal(first(pictures), again(pictures))
    torch.testing.assert_close(load_network(tmp_path / "features")(pictures), first(pictures), atol=0.1, rtol=0.1)
