"""Conditions: captions, layout, cameras and motion of a batch as a driving network reads them, with the guidance copies."""

from dwm.conditions.build import CONDITIONS, build_conditions, drawn, dropped_together, latent_times
from dwm.conditions.condition import Condition, Fields, Request
from dwm.conditions.options import ConditionOptions

__all__ = [
    "CONDITIONS",
    "Condition",
    "ConditionOptions",
    "Fields",
    "Request",
    "build_conditions",
    "drawn",
    "dropped_together",
    "latent_times",
]
