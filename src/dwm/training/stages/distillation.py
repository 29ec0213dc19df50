"""Few steps: a copy of a driving network learns to come as far in one step, without guidance, as the network in several with it.

The network itself is the teacher and stays as it is; pictures only say where its steps begin. It knows no recipe.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from dwm.devices import autocast, send
from dwm.diffusion.flow import STEPS, level, spread
from dwm.diffusion.process import FlowGrid, Latents, per_picture
from dwm.generation.sampler import guided
from dwm.training.feed.batches import DrivingBatch
from dwm.training.loop.task import Losses, Work
from dwm.training.objectives.driving import Noised
from dwm.training.stages.driving import DrivingTask, Network
from dwm.training.stages.options import DistillationOptions


class DistillationTask(DrivingTask):
    """A task whose network is the copy, with its teacher, which stays as it is.

    shift: that of the noise levels in sampling. Flow only; text encoders and autoencoder stay as they are.
    """

    def __init__(self, task: DrivingTask, teacher: Network, distillation: DistillationOptions, shift: float):
        settings = replace(task.settings, noising=FlowGrid(shift, distillation.steps))
        super().__init__(task.network, task.feed, settings, task.text, task.autoencoder, task.device)
        self.teacher = teacher.eval().requires_grad_(False).to(self.device)
        self.distillation, self.shift = distillation, shift

    def losses(self, batch: DrivingBatch, generator: torch.Generator) -> Losses:
        batch = batch.to(self.device)
        draws, inputs = self._inputs(batch, generator)
        begin = per_picture(send(draws.positions, self.device), inputs.sample)
        return self._compared(batch, replace(inputs, target=self._target(batch, inputs, begin)))

    def work(self, batch: DrivingBatch) -> Work:
        # Counted forward and backward, which is three times forward; a guided step of the teacher is twice forward.
        work = super().work(batch)
        return replace(work, operations=work.operations * (1 + self.distillation.substeps * 2 / 3))

    @torch.no_grad()
    def _target(self, batch: DrivingBatch, inputs: Noised, begin: Int[Tensor, "b t v"]) -> Latents:
        """The clean latents that the teacher's way from step `begin` to the next one points at."""
        options, sample = self.distillation, inputs.sample
        count, first = options.steps * options.substeps, begin * options.substeps
        start, end = (level(begin + further, options.steps, self.shift) for further in (0, 1))
        conditions = self._told(batch, inputs, guidance=True)
        with autocast(self.device, self.settings.dtype):
            prepared = self.teacher.prepare(conditions, (2 * sample.shape[0], *sample.shape[1:]))
            for ahead in range(options.substeps):
                here, there = (level(first + ahead + further, count, self.shift) for further in (0, 1))
                time = torch.where(inputs.is_reference, 0, here * STEPS)
                velocity = guided(self.teacher, sample, time, prepared, options.guidance)
                moved = sample + spread(there - here, sample) * velocity
                sample = torch.where(spread(inputs.is_reference, sample), sample, moved)
        # The straight way there, drawn out to noise level 0.
        return inputs.sample + spread(start / (start - end), sample) * (sample - inputs.sample)
