"""OpenDWM's trainer on one of its own configs, made small: its network, a tiny base model, a made-up nuScenes set."""

import json
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from dwm.errors import DwmError
from dwm.opendwm.commands.training import Flags, check_resume, output_of, train_config, with_flags
from dwm.opendwm.runs import load_recipe

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from made_up_nuscenes import make_files, make_tables, write

CROSSVIEW = "reference/configs/ctsd/single_dataset/ctsd_35_crossview_tirda_bm_nusc_a.json"
QUIET = Flags(log_steps=1, checkpointing_steps=3, evaluation_steps=0, preview_steps=10_000)


def config(shared: Path, folder: Path) -> Path:
    told = json.loads((shared / CROSSVIEW).read_text())
    data = write(folder / "nuscenes", make_files(make_tables()))
    told["global_state"]["nuscenes_fs"] = {"_class_name": "dwm.fs.dirfs.DirFileSystem", "path": str(data)}
    case = shared / "vectors/training/condition_dropping/case.json"
    model = json.loads(case.read_text())["config"]["pipeline"]["model"]
    told["pipeline"] |= {
        "model": model | {"projection_class_embeddings_input_dim": 2816, "enable_temporal": False},
        "pretrained_model_name_or_path": str(shared / "vectors/base_models/sd3"),
        "model_checkpoint_path": None,
    }
    captions = {"path": str(data / "captions.json"), "time_list_dict_path": str(data / "caption_times.json")}
    for name in ("training_dataset", "validation_dataset"):
        base = told[name]["base_dataset"]
        base |= {"dataset_name": "v1.0-mini", "split": "mini_val", "fs": state("nuscenes_fs")}
        base["image_description_settings"] |= captions
        for step in told[name]["transform_list"]:
            for part in step["transform"].get("transforms", ()):
                part |= {"size": [32, 64]} if "size" in part else {}
    told["device"], told["train_epochs"] = "cpu", 2
    told["training_dataloader"] |= {"batch_size": 2, "num_workers": 0}
    told["output_path"] = str(folder / "out")
    path = folder / "config.json"
    path.write_text(json.dumps(told))
    return path


def state(key: str) -> dict:
    return {"_class_name": "dwm.common.get_state", "key": key}


def test_a_config_trains_for_its_passes_over_the_data_and_goes_on(shared: Path, tmp_path: Path, capfd):
    path = config(shared, tmp_path)
    weights = train_config(path, None, QUIET)
    assert weights == tmp_path / "out" / "weights"
    log = [json.loads(line) for line in (tmp_path / "out/driving/log.jsonl").read_text().splitlines()]
    # Two scenes of four key frames, two clips a step, two passes.
    assert [entry["step"] for entry in log] == list(range(1, 9))
    before = load_file(tmp_path / "out/driving/weights.safetensors")
    with pytest.raises(DwmError, match="holds a run"):
        train_config(path, None, QUIET)
    assert train_config(path, None, Flags(**{**vars(QUIET), "resume_from": 8})) == weights
    after = load_file(tmp_path / "out/driving/weights.safetensors")
    assert all(before[name].equal(after[name]) for name in before)


def test_flags_change_the_loop_and_count_processes_as_opendwm_does(shared: Path):
    run = load_recipe(shared / CROSSVIEW)
    flags = Flags(log_steps=7, preview_steps=8, checkpointing_steps=9, wandb=True, wandb_run_name="first")
    given = with_flags(run, flags, processes=8)
    loop = given.training
    assert (loop.log_every, given.preview.every, loop.save_every, loop.accumulate) == (7, 8, 9, 8)
    assert loop.watch.trackers == ("tensorboard", "wandb")
    assert (loop.watch.project, loop.watch.name) == ("dwm", "first")


def test_flags_that_no_run_can_follow_are_refused(shared: Path, tmp_path: Path):
    with pytest.raises(DwmError, match="--log-steps 0: expected a number above 0"):
        with_flags(load_recipe(shared / CROSSVIEW), Flags(log_steps=0), 1)
    with pytest.raises(DwmError, match="names no output_path"):
        output_of(shared / CROSSVIEW)
    with pytest.raises(DwmError, match=r"--resume-from 5: .* holds no save"):
        check_resume(tmp_path, 5)
    for step in ("00000005", "00000009"):
        (tmp_path / "driving/checkpoints" / step).mkdir(parents=True)
    check_resume(tmp_path, 9)
    with pytest.raises(DwmError, match="goes on from its last save, that of step 9"):
        check_resume(tmp_path, 5)
