import json
from pathlib import Path

import pytest

from dwm.cli.runs import choose_training
from dwm.config import Campaign, find, recipes, save
from dwm.config.campaign import campaign_from, campaigns, changed, find_campaign, started_from
from dwm.errors import DwmError
from dwm.recipes.tiny import tiny


@pytest.mark.parametrize("name", campaigns())
def test_stages_of_a_campaign_start_where_their_recipes_say_by_default(name: str):
    campaign = find_campaign(name)
    for (stage, _), known in zip(started_from(campaign, Path("runs") / name), campaign.stages, strict=True):
        assert stage.run.weights == known.run.weights


def test_a_setting_changes_in_one_stage_or_in_all():
    campaign = changed(find_campaign("unimlvg"), ["training.optimizer.lr=1e-3", "stage2.training.steps=7"])
    assert [stage.run.training.optimizer.lr for stage in campaign.stages] == [1e-3] * 3
    assert [stage.run.training.steps for stage in campaign.stages] == [30_000, 7, 60_000]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("stage2=7", "stage2 is a stage; name a setting in it"),
        ("stage2.training.stepz=7", "training.stepz is not known; nearest: training.steps"),
        ("data.size=[100,100]", "unimlvg: stage1: data.size is 100×100"),
    ],
)
def test_a_wrong_setting_is_told_with_what_is_meant(override: str, told: str):
    with pytest.raises(DwmError, match=told):
        changed(find_campaign("unimlvg"), [override])


def test_a_saved_campaign_is_read_again_and_its_stages_may_name_recipes(tmp_path: Path):
    campaign = find_campaign("unimlvg-tiny")
    path = save(campaign, tmp_path)
    assert choose_training(None, path, []) == campaign
    assert choose_training("stage1.training.steps=9", path, []).stages[0].run.training.steps == 9
    short = {"name": "mine", "stages": [{"name": "a", "run": {"recipe": "town", "training": {"steps": 3}}}]}
    path.write_text(json.dumps(short))
    assert choose_training(None, path, []).stages[0].run == find("town").with_(
        training=find("town").training.with_(steps=3)
    )


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"stages": []}, "stages"),
        ({"stages": {}}, "expected a list"),
        ({"stages": [{"name": "a/b", "run": {"recipe": "town"}}]}, "name"),
        ({"stages": [{"name": "a", "run": {"recipe": "town"}}, {"name": "a", "run": {"recipe": "town"}}]}, "two are"),
        ({"stages": [{"name": "a", "run": {"recipe": "twn"}}]}, "nearest: town"),
    ],
)
def test_a_wrong_file_of_a_campaign_is_one_line(values: dict, told: str):
    with pytest.raises(DwmError, match=told) as caught:
        campaign_from(values, "c.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in recipes() if not name.startswith("town")])
def test_a_twin_is_the_same_run_in_small(name: str):
    run, twin = find(name), find(f"{name}-tiny")
    assert twin.training.freeze == run.training.freeze
    assert twin.training.optimizer == run.training.optimizer
    same = {"reference_frames": 1}
    assert twin.training.objective.with_(**same) == run.training.objective.with_(**same)
    assert twin.conditions == run.conditions
    assert len(twin.data.train) == len(run.data.train) and len(twin.data.mix) == len(run.data.mix)
    assert [source.crossview_mask for source in twin.data.train] == [source.crossview_mask for source in run.data.train]
    for kind in ("enable_crossview", "enable_temporal"):
        assert getattr(twin.network, kind) == getattr(run.network, kind)
    assert {source.kind for source in twin.data.train} == {"town"}


def test_what_is_small_already_has_no_twin():
    with pytest.raises(DwmError, match="small already"):
        tiny(find("town"))
    assert isinstance(find_campaign("sd35-nuscenes-tiny"), Campaign)
