import json
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from dwm.errors import DwmError
from dwm.training.loop.ema import Ema
from dwm.training.loop.optimizers import OptimizerOptions
from dwm.training.loop.options import ScheduleOptions
from dwm.training.loop.step import LoopOptions, step_generator, train_task
from dwm.training.loop.task import Losses, Work
from dwm.training.parallel.ranks import Ranks
from dwm.training.saves import checkpoint, shard_files
from dwm.training.saves.checkpoint import Training
from dwm.training.saves.saver import save


class Regression:
    """A tiny task with data and noise of its own; breaks at a step when asked to."""

    def __init__(self, broken_at: int | None = None):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.module = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 8))
        self.broken_at = broken_at
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def batches(self, start: int, every: int = 1) -> Iterator[tuple[int, Tensor]]:
        number = start
        while True:
            yield number, torch.randn(4, 12, generator=step_generator(9, number))
            number += every

    def losses(self, batch: tuple[int, Tensor], generator: torch.Generator) -> Losses:
        number, x = batch
        if number == self.broken_at:
            x = x * float("nan")
        loss = ((self.module(x + 0.1 * torch.randn(x.shape, generator=generator)) - x[:, :8].sin()) ** 2).mean()
        return Losses(loss, {"twice": (2 * loss.detach() * len(x), torch.tensor(len(x)))})

    def work(self, batch: tuple[int, Tensor]) -> Work:
        return Work(clips=len(batch[1]))

    def identity(self, batch: tuple[int, Tensor]) -> str:
        return f"batch {batch[0]}"

    def blocks(self) -> list[nn.Module]:
        return [layer for layer in self.module if isinstance(layer, nn.Linear)]


OPTIONS = LoopOptions(
    steps=24,
    log_every=1,
    save_every=5,
    optimizer=OptimizerOptions(kind="muon", lr=1e-2),
    schedule=ScheduleOptions(warmup=3, decay=0.5),
)


def curve(folder) -> dict[int, float]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return {entry["step"]: entry["loss"] for entry in map(json.loads, lines)}


def test_a_run_cut_anywhere_gives_the_same_losses_and_weights(tmp_path):
    whole = train_task(Regression(), OPTIONS, tmp_path / "whole")
    with pytest.raises(DwmError, match="not a number"):
        train_task(Regression(broken_at=12), OPTIONS, tmp_path / "cut")
    resumed = train_task(Regression(), OPTIONS, tmp_path / "cut")
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    for name, value in whole.ema.average.items():
        assert torch.equal(value, resumed.ema.average[name])
    assert all(torch.equal(a, b) for a, b in zip(whole.module.parameters(), resumed.module.parameters(), strict=True))


def test_the_loss_falls(tmp_path):
    train_task(Regression(), OPTIONS.with_(steps=200), tmp_path)
    losses = curve(tmp_path)
    assert sum(losses[step] for step in range(191, 201)) < 0.7 * sum(losses[step] for step in range(1, 11))


def test_accumulation_gives_the_gradient_of_the_mean(tmp_path):
    class Fixed(Regression):
        def losses(self, batch, generator):
            _, x = batch
            return Losses(((self.module(x) - 1) ** 2).mean())

        def joined(self, start, every=1):
            for number in range(start, 10**9, every):
                yield (
                    number,
                    torch.cat([torch.randn(4, 12, generator=step_generator(9, 2 * number + i)) for i in (0, 1)]),
                )

    plain = OPTIONS.with_(steps=3, optimizer=OptimizerOptions(lr=1e-2))
    two = train_task(Fixed(), plain.with_(accumulate=2), tmp_path / "two")
    task = Fixed()
    task.batches = task.joined
    one = train_task(task, plain, tmp_path / "one")
    for a, b in zip(one.module.parameters(), two.module.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_not_a_number_names_the_last_good_save(tmp_path):
    with pytest.raises(DwmError, match=r"step 13: .*0000010"):
        train_task(Regression(broken_at=12), OPTIONS, tmp_path)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    train_task(Regression(), OPTIONS.with_(steps=2), tmp_path)
    with pytest.raises(DwmError, match="resume"):
        train_task(Regression(), OPTIONS, tmp_path, resume=False)


def test_only_the_last_saves_are_kept_and_leftovers_are_swept(tmp_path):
    leftover = tmp_path / "checkpoints" / ".saving-x"
    leftover.mkdir(parents=True)
    train_task(Regression(), OPTIONS, tmp_path)
    assert [path.name for path in checkpoint.saves(tmp_path / "checkpoints")] == ["0000020", "0000024"]
    assert not leftover.exists()


def test_another_network_is_refused_with_the_keys_that_differ(tmp_path):
    train_task(Regression(), OPTIONS.with_(steps=1), tmp_path)
    other = nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 8))
    (saved,) = checkpoint.saves(tmp_path / "checkpoints")
    with pytest.raises(
        DwmError, match=r"3 keys differ from the network .*: weights.0.weight is \(16, 12\), not \(20, 12\)"
    ):
        checkpoint.restore(saved, Training(other, [], Ema(other)))


def test_a_full_disk_keeps_the_older_save(tmp_path, monkeypatch):
    task = Regression()
    training = Training(task.module, [], Ema(task.module))
    save(tmp_path, 1, training)

    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard_files, "save_file", full)
    with pytest.raises(DwmError, match="No space left"):
        save(tmp_path, 2, training)
    assert [path.name for path in tmp_path.iterdir()] == ["0000001"]


def test_averaged_weights_follow_and_are_put_back():
    module = nn.Linear(3, 3)
    ema = Ema(module, decay=0.5)
    with torch.no_grad():
        before = module.weight.clone()
        module.weight.add_(1)
    ema.update()
    own = module.weight.detach().clone()
    with ema.applied(module):
        assert torch.allclose(module.weight, before + 1 - 2 / 11, atol=1e-6)
    assert torch.equal(module.weight, own)


def test_processes_that_cannot_share_a_step_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dwm.training.loop.step.current_ranks", lambda: Ranks(0, 3))
    with pytest.raises(DwmError, match="multiple of 3"):
        train_task(Regression(), OPTIONS.with_(accumulate=4), tmp_path)
