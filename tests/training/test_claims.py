"""A training run's folder: one run at a time, nothing in the way after a start that failed, and settings named that differ."""

import json
import os
import re
import shutil

import pytest
from base_run import made_up, recipe

from dwm.cli.main import run as command
from dwm.config.files import save
from dwm.data import open_dataset
from dwm.errors import DwmError
from dwm.runs.claim import differences
from dwm.runs.train import train_run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("nuscenes"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    from dwm.base_models.tiny import TinyOptions, create_tiny_base_model

    folder = tmp_path_factory.mktemp("base") / "tiny"
    create_tiny_base_model(folder, ("day", "night"), 0, TinyOptions(clip_width=20, t5_width=40, latent_channels=16))
    return folder


@pytest.fixture(scope="module")
def whole(data, base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    run = recipe(data, base, steps=2)
    train_run(run, folder, False)
    return run, folder


@pytest.fixture
def finished(whole, tmp_path):
    run, folder = whole
    shutil.copytree(folder, tmp_path / "run")
    return run, tmp_path / "run"


def test_a_start_that_failed_is_not_in_the_way_of_the_corrected_one(data, base, tmp_path):
    output = tmp_path / "run"
    with pytest.raises(DwmError, match="nowhere"):
        train_run(recipe(tmp_path / "nowhere", base), output, False)
    assert not output.exists()
    (tmp_path / "no-base").mkdir()
    with pytest.raises(DwmError, match="is missing"):
        train_run(recipe(data, tmp_path / "no-base"), output, False)
    assert not list(output.rglob("*"))
    train_run(recipe(data, base, steps=2), output, False)
    assert (output / "weights" / "dwm.json").is_file() and not (output / "run.lock").exists()


def test_a_start_that_was_killed_before_its_first_save_is_not_in_the_way(data, base, tmp_path):
    output = tmp_path / "run"
    other = recipe(data, base, steps=9)
    save(other.with_(training=other.training.with_(seed=5)), output)
    (output / "base").mkdir()
    (output / "base" / "model_index.json").write_text("{}")
    train_run(recipe(data, base, steps=2), output, False)
    assert not (output / "base").exists() and (output / "weights").is_dir()


def test_a_start_that_failed_leaves_what_was_in_the_folder(data, tmp_path):
    output = tmp_path / "run"
    (output / "base" / "mine").mkdir(parents=True)
    (output / "notes").mkdir()
    (tmp_path / "no-base").mkdir()
    with pytest.raises(DwmError, match="is missing"):
        train_run(recipe(data, tmp_path / "no-base"), output, False)
    assert sorted(str(path.relative_to(output)) for path in output.rglob("*")) == ["base", "base/mine", "notes"]


def test_a_folder_that_holds_a_run_is_not_taken_without_resume(finished):
    run, output = finished
    with pytest.raises(DwmError, match=r"holds a run of on-base already; add --resume"):
        train_run(run, output, False)


def test_settings_that_differ_are_named_with_both_values(finished):
    run, output = finished
    changed = run.with_(
        training=run.training.with_(optimizer=run.training.optimizer.with_(lr=0.5), seed=7),
        data=run.data.with_(size=(128, 64)),
    )
    before = (output / "config.json").read_text()
    with pytest.raises(DwmError) as error:
        train_run(changed, output, True)
    lr = run.training.optimizer.lr
    for words in (f"training.optimizer.lr: {lr} → 0.5", "training.seed: 0 → 7", "data.size: [64, 32] → [128, 64]"):
        assert words in str(error.value)
    assert (output / "config.json").read_text() == before


def test_what_may_change_while_a_run_goes_on_is_no_difference(whole):
    run, _ = whole
    changed = run.with_(
        device="cuda", training=run.training.with_(steps=99, save_every=7), data=run.data.with_(workers=2)
    )
    assert differences(run, changed) == []


def test_a_run_goes_on_with_its_data_at_another_place(finished, tmp_path):
    run, output = finished
    moved = tmp_path / "moved"
    shutil.copytree(run.data.train[0].path, moved)
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
    elsewhere = run.with_(data=run.data.with_(train=(run.data.train[0].with_(path=str(moved)),)))
    assert train_run(elsewhere, output, True) == output / "weights"


def test_a_run_does_not_go_on_with_other_data_at_the_same_place(finished, tmp_path):
    run, output = finished
    changed = tmp_path / "set"
    shutil.copytree(run.data.train[0].path, changed)
    table = changed / "v1.0-mini" / "ego_pose.json"
    rows = json.loads(table.read_text())
    rows[0]["translation"][0] += 0.25
    table.write_text(json.dumps(rows))
    elsewhere = run.with_(data=run.data.with_(train=(run.data.train[0].with_(path=str(changed)),)))
    with pytest.raises(
        DwmError, match=r"the tables of data\.train\.0 .* are not those .* \(digest [0-9a-f]{8} → [0-9a-f]{8}\)"
    ):
        train_run(elsewhere, output, True)


def test_a_digest_is_of_what_tables_say_not_of_where_they_lie(data, tmp_path):
    built = open_dataset(data).index.digest()
    assert open_dataset(data).index.digest() == built  # mapped from where it is kept
    shutil.copytree(data, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / ".dwm")
    assert open_dataset(tmp_path / "copy").index.digest() == built


def test_a_second_run_in_a_folder_is_refused_while_the_first_goes_on(data, base, tmp_path, capsys):
    run, output, refused = recipe(data, base, steps=2), tmp_path / "run", []
    save(run, tmp_path / "settings")

    def start_another(moment):
        with pytest.raises(SystemExit) as stop:
            command(["train", "-c", str(tmp_path / "settings" / "config.json"), "-o", str(output), "--resume"])
        refused.append((stop.value.code, capsys.readouterr().err))

    train_run(run, output, False, callbacks=[start_another])
    assert len(refused) == 2
    for code, said in refused:
        assert code == 1
        assert re.search(rf"dwm: {output}: is in use by another run \(process {os.getpid()} on .*since .*\n$", said)
    steps = [json.loads(line)["step"] for line in (output / "driving" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2]


def test_a_config_that_is_nobodys_run_is_not_replaced(data, base, tmp_path):
    output = tmp_path / "project"
    output.mkdir()
    (output / "config.json").write_text('{"auths": {}}')
    with pytest.raises(DwmError, match=r"config\.json: is no run that dwm wrote, and would be replaced"):
        train_run(recipe(data, base), output, False)
    assert [path.name for path in output.iterdir()] == ["config.json"]
    assert (output / "config.json").read_text() == '{"auths": {}}'


def test_a_start_that_failed_gives_back_the_files_that_it_replaced(data, base, tmp_path):
    output = tmp_path / "run"
    output.mkdir()
    written = {"config.json": '{"recipe": "town"}', "data.json": "[null]"}
    for name, text in written.items():
        (output / name).write_text(text)
    (tmp_path / "no-base").mkdir()
    with pytest.raises(DwmError, match="is missing"):
        train_run(recipe(data, tmp_path / "no-base"), output, False)
    assert {path.name: path.read_text() for path in output.iterdir()} == written
