"""Learning rate schedules that OpenDWM's configs name, from an explicit table; they advance once in every call."""

from __future__ import annotations

import torch
from torch.optim import lr_scheduler

from dwm.errors import DwmError
from dwm.opendwm.config.reader import Section

Schedule = lr_scheduler.LRScheduler
KNOWN = {
    f"torch.optim.lr_scheduler.{kind.__name__}": kind
    for kind in (
        lr_scheduler.LinearLR,
        lr_scheduler.ConstantLR,
        lr_scheduler.StepLR,
        lr_scheduler.MultiStepLR,
        lr_scheduler.ExponentialLR,
        lr_scheduler.PolynomialLR,
        lr_scheduler.CosineAnnealingLR,
        lr_scheduler.CosineAnnealingWarmRestarts,
        lr_scheduler.CyclicLR,
        lr_scheduler.OneCycleLR,
    )
}


def read_schedule(section: Section, optimizer: torch.optim.Optimizer) -> Schedule:
    """Raises DwmError for a name or an argument that is not known."""
    kind = KNOWN[section.class_name(tuple(KNOWN))]
    arguments = section.rest()
    try:
        return kind(optimizer, **arguments)
    except (TypeError, ValueError) as error:
        raise DwmError(f"{section.ledger.source}: {section.path}: {error}") from None


def constant_schedule(optimizer: torch.optim.Optimizer) -> Schedule:
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)
