"""A training stage from outside: the one road takes it, cut and resumed, after and before others, and passes it over when done."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dwm.training.loop.optimizers import OptimizerOptions
from dwm.training.loop.step import Callback, LoopOptions, Moment, step_generator
from dwm.training.loop.task import Losses, Task, Work
from dwm.training.stages.stage import Context, Stage, run_stages

WEIGHTS = "line.safetensors"


class Line:
    """Learns y = 3x − 1."""

    def __init__(self, device: torch.device):
        self.module = nn.Linear(1, 1)
        nn.init.zeros_(self.module.weight)
        nn.init.zeros_(self.module.bias)
        self.device, self.dtype = device, torch.float32

    def batches(self, start: int, every: int = 1) -> Iterator[Tensor]:
        number = start
        while True:
            yield torch.randn(16, 1, generator=step_generator(1, number))
            number += every

    def losses(self, batch: Tensor, generator: torch.Generator) -> Losses:
        return Losses((self.module(batch) - (3 * batch - 1)).square().mean())

    def work(self, batch: Tensor) -> Work:
        return Work(clips=len(batch))

    def identity(self, batch: Tensor) -> str:
        return f"{len(batch)} points"

    def blocks(self) -> list[nn.Module]:
        return []


@dataclass
class LineStage:
    """Starts from what the stage `after` left."""

    name: str
    after: str | None = None
    steps: list[int] = field(default_factory=list)

    def finished(self, context: Context) -> bool:
        return (context.folder / self.name / WEIGHTS).exists()

    def task(self, context: Context) -> Line:
        task = Line(context.device)
        if self.after is not None:
            task.module.load_state_dict(load_file(context.folder / self.after / WEIGHTS))
        return task

    def loop(self, task: Line) -> LoopOptions:
        return LoopOptions(steps=40, save_every=5, optimizer=OptimizerOptions(lr=0.1, weight_decay=0), ema_decay=0)

    def callbacks(self, context: Context, task: Line) -> Sequence[Callback]:
        return [lambda moment: self.steps.append(moment.step)]

    def write(self, context: Context, task: Line, averaged: Mapping[str, Tensor]) -> None:
        save_file(dict(averaged), context.folder / self.name / WEIGHTS)


def weights(folder, name):
    return load_file(folder / name / WEIGHTS)


def test_an_invented_stage_is_a_stage_and_its_task_a_task():
    assert isinstance(LineStage("line"), Stage) and isinstance(Line(torch.device("cpu")), Task)


def test_stages_follow_one_another_and_finished_ones_are_passed_over(tmp_path):
    stages = [LineStage("coarse"), LineStage("fine", after="coarse")]
    run_stages(stages, Context(tmp_path))
    coarse, fine = weights(tmp_path, "coarse"), weights(tmp_path, "fine")
    assert abs(float(fine["weight"]) - 3) < abs(float(coarse["weight"]) - 3) < 1
    assert [stage.steps for stage in stages] == [list(range(1, 41))] * 2
    again = [LineStage("coarse"), LineStage("fine", after="coarse")]
    run_stages(again, Context(tmp_path))
    assert [stage.steps for stage in again] == [[], []]


def test_a_stage_that_was_cut_goes_on_from_its_last_save_and_ends_the_same(tmp_path):
    run_stages([LineStage("line")], Context(tmp_path / "whole"))

    def cut(moment: Moment) -> None:
        if moment.step == 12:
            raise RuntimeError("cut")

    with pytest.raises(RuntimeError, match="cut"):
        run_stages([LineStage("line")], Context(tmp_path / "cut", callbacks=(cut,)))
    resumed = LineStage("line")
    run_stages([resumed], Context(tmp_path / "cut"))
    assert resumed.steps == list(range(11, 41))
    for name, value in weights(tmp_path / "whole", "line").items():
        assert torch.equal(weights(tmp_path / "cut", "line")[name], value)
