"""Stages of the driving network: each starts from the averaged weights of the one before and leaves `weights.safetensors`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dwm.base_models import BaseModel, TextEncoder
from dwm.screen import say
from dwm.training.feed.batches import Feed
from dwm.training.loop.options import LoopOptions
from dwm.training.loop.step import Callback
from dwm.training.saves import checkpoint
from dwm.training.stages.distillation import DistillationTask
from dwm.training.stages.driving import DrivingSettings, DrivingTask, Network
from dwm.training.stages.freezing import freeze
from dwm.training.stages.options import DistillationOptions, DrivingStage
from dwm.training.stages.stage import Context

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class DrivingMaterial:
    """What the stages of one driving network share.

    start: the network as the first stage finds it. blank: one of the same shape, whose numbers do not matter. base: its text
    encoders or its autoencoder may be missing where the feed brings embeddings or latents. own_text: text encoders that belong
    to the run, untrained: they may learn, and are kept beside the network. watchers: previews and scores of a stage. recomputes:
    whether a stage computes blocks again in the backward pass, on this base model; None: as the network's options say.
    """

    start: Callable[[], Network]
    blank: Callable[[], Network]
    base: BaseModel
    feed: Callable[[DrivingStage], Feed]
    settings: Callable[[DrivingStage, torch.dtype], DrivingSettings]
    own_text: Callable[[], TextEncoder] | None = None
    watchers: Callable[[DrivingStage, Network, BaseModel], Sequence[Callback]] = lambda stage, network, base: ()
    recomputes: Callable[[DrivingStage, BaseModel, Context], bool] | None = None

    def load(self, path: Path | None) -> tuple[Network, BaseModel]:
        """Network and base model as a finished stage left them; None: as the first one finds them.

        Both are new: what was sharded in one stage cannot be filled from a file for the next.
        """
        base = self.base if self.own_text is None else replace(self.base, text=self.own_text())
        if path is None:
            return self.start(), base
        network = self.blank()
        own = {"text": base.text} if self.own_text is not None and base.text is not None else {}
        checkpoint.load_weights(nn.ModuleDict({"transformer": network, **own}), path)
        return network, base


@dataclass(frozen=True)
class DrivingTraining:
    """One stage. `before` is the file of the stage before, None for the first. freezing: the pattern of modules that stay as
    they are. epochs: end after so many passes over the data where that is sooner than the stage's steps. distillation: what
    the network that it starts from teaches a copy of itself, instead of learning from data."""

    options: DrivingStage
    material: DrivingMaterial
    before: Path | None = None
    freezing: str | None = None
    epochs: int | None = None
    distillation: DistillationOptions | None = None

    @property
    def name(self) -> str:
        return self.options.name

    def finished(self, context: Context) -> bool:
        """Its weights are there, and its last save is not short of the steps that are asked for now."""
        folder = context.folder / self.name
        saves = checkpoint.saves(folder / "checkpoints")
        return (folder / WEIGHTS).exists() and not (saves and int(saves[-1].name) < self.options.loop.steps)

    def task(self, context: Context) -> DrivingTask:
        if context.ranks.first:
            (context.folder / self.name / WEIGHTS).unlink(missing_ok=True)  # they are of fewer steps
        network, base = self.material.load(self.before)
        frozen = freeze(network.requires_grad_(True), self.freezing)
        if self.freezing is not None and context.ranks.first:
            say(*frozen.lines())
        if self.material.recomputes is not None:
            network.enable_gradient_checkpointing(self.material.recomputes(self.options, base, context))
        settings = self.material.settings(self.options, context.dtype)
        task = DrivingTask(
            network, self.material.feed(self.options), settings, base.text, base.autoencoder, context.device
        )
        if self.distillation is None:
            return task
        teacher, _ = self.material.load(self.before)
        return DistillationTask(task, teacher, self.distillation, base.scheduler.get("shift", 1.0))

    def loop(self, task: DrivingTask) -> LoopOptions:
        loop = self.options.loop
        if self.material.recomputes is not None:  # the network does it by itself: blocks need not be wrapped as well
            loop = loop.with_(parallel=loop.parallel.with_(recompute=None))
        if self.epochs is None:
            return loop
        assert isinstance(task.feed, Feed)  # as `task` made it
        return loop.with_(steps=min(loop.steps, self.epochs * task.feed.plan.steps))

    def callbacks(self, context: Context, task: DrivingTask) -> Sequence[Callback]:
        return self.material.watchers(self.options, task.network, replace(self.material.base, text=task.text))

    def write(self, context: Context, task: DrivingTask, averaged: Mapping[str, Tensor]) -> None:
        # `averaged` is all that the task trains; text encoders of the run are kept though they did not learn in this stage.
        own = task.text if self.material.own_text is not None else None
        text = {} if own is None else {f"text.{name}": value for name, value in own.state_dict().items()}
        checkpoint.save_weights({**text, **averaged}, context.folder / self.name / WEIGHTS)


def driving_trainings(
    stages: Sequence[DrivingStage],
    material: DrivingMaterial,
    folder: Path,
    freezing: str | None = None,
    epochs: int | None = None,
    distillation: DistillationOptions | None = None,
) -> list[DrivingTraining]:
    """The stages of a run below `folder`, one after another; `freezing`, `epochs` and `distillation` are of the last one."""
    files = [None, *(folder / stage.name / WEIGHTS for stage in stages)]
    trainings = [DrivingTraining(stage, material, before) for stage, before in zip(stages, files, strict=False)]
    return [*trainings[:-1], replace(trainings[-1], freezing=freezing, epochs=epochs, distillation=distillation)]
