import json
import math
import re
from pathlib import Path

import pytest

from dwm.config import Recipe, find, recipes, resolve
from dwm.config.describe import settings
from dwm.opendwm.runs import convert

ONE, MANY = "configs/ctsd/single_dataset", "configs/ctsd/multi_datasets"
SOURCES = {
    "unimlvg-stage1": "configs/ctsd/unimlvg/ctsd_unimlvg_stage1_tird_o.json",
    "unimlvg-stage2": "configs/ctsd/unimlvg/ctsd_unimlvg_stage2_tirda_bm_nwa.json",
    "unimlvg-stage3": "configs/ctsd/unimlvg/ctsd_unimlvg_stage3_tirda_bm_nwa.json",
    "sd35-crossview-nuscenes": f"{ONE}/ctsd_35_crossview_tirda_bm_nusc_a.json",
    "sd35-layout-nuscenes-warmup": f"{ONE}/ctsd_35_tirda_bm_nusc_a_warmup.json",
    "sd35-layout-nuscenes": f"{ONE}/ctsd_35_tirda_bm_nusc_a.json",
    "sd35-text-nwao-warmup": f"{MANY}/ctsd_35_tirda_nwao_warmup.json",
    "sd35-text-nwao": f"{MANY}/ctsd_35_tirda_nwao.json",
    "sd35-layout-nwao": f"{MANY}/ctsd_35_tirda_bm_nwao.json",
    "sd35-forcing-nwao": f"{MANY}/ctsd_35_df16_tirda_bm_nwao.json",
    "sd35-videolatents-nwao": f"{MANY}/ctsd_35_tvae_f17_tirda_bm_nwao.json",
    "sd35-xs-forcing-nwao": "configs/experimental/multi_datasets/ctsd_35_xs_df6v3_tirda_bm_nwao.json",
    "sd21-crossview-nuscenes": f"{ONE}/ctsd_21_crossview_tirda_bm_nusc_a.json",
    "sd21-crossview-waymo": f"{ONE}/ctsd_21_crossview_tirda_bm_waymo.json",
    "sd21-crossview-argoverse": f"{ONE}/ctsd_21_crossview_tirda_bm_argo.json",
    "sd21-layout-nuscenes-warmup": f"{ONE}/ctsd_21_tirda_bm_nusc_a_warmup.json",
    "sd21-layout-nuscenes": f"{ONE}/ctsd_21_tirda_bm_nusc_a.json",
    "sd21-layout-nwa-warmup": f"{MANY}/ctsd_21_tirda_bm_nwa_warmup.json",
    "sd21-layout-nwa": f"{MANY}/ctsd_21_tirda_bm_nwa.json",
    "sd21-text-nwao-warmup": f"{MANY}/ctsd_21_tirda_nwao_warmup.json",
    "sd21-text-nwao": f"{MANY}/ctsd_21_tirda_nwao.json",
}

WANTED = {
    "the name, and whose oddities are kept": r"name|compatibility|network\.compatibility",
    "the device is found": "device",
    "where the base model and weights lie": r"base_model|autoencoder_folder|weights",
    "which of our scores stand beside the published ones": r"evaluation\.scores",
    "where the feature files lie, without which their scores are left out": r"evaluation\.(i3d_file|optional)",
    "where data lie": r"data\.(train|validation)\.\d\.(path|archives|endpoint|index|captions)",
    "sweeps have boxes": r"data\.(train|validation)\.\d\.boxes_between",
    "layout is drawn at the wanted size": r"data\.(train|validation)\.\d\.layout(\..*)?",
    "steps, not passes over the data; saves": r"training\.(epochs|steps|save_every|log_every)",
    "micro-batches of a step over all devices": r"training\.accumulate",
}
"""Settings that differ on purpose, as patterns."""


def differences(ours: Recipe, theirs: Recipe) -> dict[str, tuple]:
    """Settings that differ and are not wanted to, as (ours, theirs)."""
    wanted = re.compile("|".join(f"(?:{pattern})" for pattern in WANTED.values()))
    mine, published = ({s.key: s.value for s in settings(run)} for run in (ours, theirs))
    return {
        key: (mine.get(key, "absent"), published.get(key, "absent"))
        for key in sorted(mine.keys() | published.keys())
        if not wanted.fullmatch(key) and mine.get(key, "absent") != published.get(key, "absent")
    }


@pytest.mark.parametrize("name", SOURCES)
def test_a_recipe_has_every_hyperparameter_of_its_published_config(shared: Path, name: str):
    path = shared / "reference" / SOURCES[name]
    ours = find(name)
    assert not differences(ours, convert(path).run)
    told = json.loads(path.read_text())
    (mesh,) = [entry["mesh_shape"] for entry in told["global_state"].values() if "mesh_shape" in entry]
    assert ours.training.accumulate == math.prod(mesh)
    assert ours.training.steps == told["informations"]["steps"]


@pytest.mark.parametrize(
    "name", sorted(set(SOURCES) - {"sd35-videolatents-nwao"})
)  # whose config says 32, the number of devices
def test_clips_of_a_step_are_as_many_as_published(shared: Path, name: str):
    told = json.loads((shared / "reference" / SOURCES[name]).read_text())["informations"]
    run = find(name)
    each = sum(mix.share * mix.clips for mix in run.data.mix) if run.data.mix else run.training.batch.clips
    total = told.get("total_batch_sizes", told.get("average_total_batch_sizes"))
    assert each * run.training.accumulate == pytest.approx(total)


@pytest.mark.parametrize("name", recipes())
def test_settings_of_a_recipe_do_not_contradict_each_other(name: str):
    assert resolve(name).name == name
