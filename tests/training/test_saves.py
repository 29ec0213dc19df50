"""What is saved is whole or not there; what is damaged is named, and the save before it taken."""

import json
import threading

import pytest
import torch
from test_loop import OPTIONS, Regression, curve
from torch import nn

from dwm.errors import DwmError
from dwm.training.loop.ema import Ema
from dwm.training.loop.optimizers import OptimizerOptions
from dwm.training.loop.scaler import Scaler
from dwm.training.loop.step import train_task
from dwm.training.saves import checkpoint, shard_files
from dwm.training.saves.checkpoint import Training


def steps_saved(folder) -> list[int]:
    return [int(path.name) for path in checkpoint.saves(folder / "checkpoints")]


def test_the_best_saves_are_kept_beside_the_last(tmp_path):
    quality = {5: 0.3, 10: 0.1, 15: 0.2, 20: 0.4}

    def score(moment):
        if moment.step in quality:
            moment.score(quality[moment.step])

    train_task(Regression(), OPTIONS.with_(keep=1, keep_best=2), tmp_path, callbacks=[score])
    assert steps_saved(tmp_path) == [10, 15, 24]


def test_a_preview_that_fails_leaves_the_module_in_training():
    module = nn.Linear(1, 1)
    before = module.weight.item()
    training = Training(module, [], Ema(nn.Linear(1, 1), 0))
    with pytest.raises(DwmError), training.sampled():
        assert not module.training
        raise DwmError("the preview's folder is full")
    assert module.training and module.weight.item() == before


def test_a_save_holds_tensors_and_text_alone(tmp_path):
    train_task(Regression(), OPTIONS.with_(steps=2), tmp_path)
    (save,) = checkpoint.saves(tmp_path / "checkpoints")
    assert sorted(path.name for path in save.iterdir()) == ["shard_00000.safetensors", "state.json"]
    assert json.loads((save / "state.json").read_text())["step"] == 2


def _flip(save):
    path = save / "shard_00000.safetensors"
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)


def _cut(save):
    path = save / "shard_00000.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _lose(save):
    (save / "shard_00000.safetensors").unlink()


def _garble(save):
    (save / "state.json").write_text('{"step": "many"}')


@pytest.mark.parametrize(
    ("harm", "said"),
    [(_flip, "is not what was written"), (_cut, "damaged"), (_lose, "0 of its 1 files"), (_garble, "state.json")],
)
def test_a_damaged_save_is_named_and_the_one_before_taken(tmp_path, capsys, harm, said):
    train_task(Regression(), OPTIONS, tmp_path / "whole")
    with pytest.raises(DwmError, match="not a number"):
        train_task(Regression(broken_at=12), OPTIONS, tmp_path / "cut")
    assert steps_saved(tmp_path / "cut") == [5, 10]
    harm(tmp_path / "cut" / "checkpoints" / "0000010")
    capsys.readouterr()
    train_task(Regression(), OPTIONS, tmp_path / "cut")
    told = capsys.readouterr().err.splitlines()[0]
    assert "0000010" in told and said in told
    assert (tmp_path / "cut" / "checkpoints" / "damaged-0000010").exists()
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")


def test_where_no_save_can_be_read_the_run_does_not_begin_anew(tmp_path):
    train_task(Regression(), OPTIONS.with_(steps=2), tmp_path)
    _cut(tmp_path / "checkpoints" / "0000002")
    with pytest.raises(DwmError, match="none of its 1 saves can be read"):
        train_task(Regression(), OPTIONS, tmp_path)


def test_steps_go_on_while_a_save_is_written(tmp_path, monkeypatch):
    write, reached, during = shard_files.write, threading.Event(), []

    def slow(path, pieces, copies):
        if "0000005" in str(path.parent.name):
            assert reached.wait(60)
        write(path, pieces, copies)

    def note(moment):
        if moment.step == 7:
            during.append(steps_saved(tmp_path))
            reached.set()

    monkeypatch.setattr(shard_files, "write", slow)
    train_task(Regression(), OPTIONS.with_(steps=9, keep=9), tmp_path, callbacks=[note])
    assert during == [[]] and steps_saved(tmp_path) == [5, 9]
    # What was written is the state of step 5, not of the steps that went on.
    training = Training(Regression().module, [], Ema(nn.Linear(1, 1), 0))
    stopped = train_task(Regression(), OPTIONS.with_(steps=9), tmp_path / "other", callbacks=[])
    early = checkpoint.saved_weights(tmp_path / "checkpoints" / "0000005", "weights")
    late = checkpoint.saved_weights(tmp_path / "checkpoints" / "0000009", "weights")
    assert all(torch.equal(late[name], value) for name, value in stopped.module.state_dict().items())
    assert not any(torch.equal(early[name], late[name]) for name in training.module.state_dict())


def test_another_optimizer_is_refused(tmp_path):
    train_task(Regression(), OPTIONS.with_(steps=2), tmp_path)
    with pytest.raises(DwmError, match=r"0\.weight was trained by another optimizer"):
        train_task(Regression(), OPTIONS.with_(optimizer=OptimizerOptions()), tmp_path)


def test_the_scaler_halves_skips_and_gives_up():
    scaler, parameter = Scaler(torch.float16), nn.Parameter(torch.ones(2))
    parameter.grad = torch.full((2,), scaler.scale)
    norm, fits = scaler.clip([parameter], 0.5)
    assert fits and norm == pytest.approx(2**0.5)
    assert parameter.grad.norm() == pytest.approx(0.5, rel=1e-4)
    for _ in range(26):
        parameter.grad = torch.full((2,), float("inf"))
        assert not scaler.clip([parameter], 0.5)[1]
    assert scaler.scale == 2.0**-10
    with pytest.raises(DwmError, match="even with the loss times"):
        scaler.clip([parameter], 0.5)
