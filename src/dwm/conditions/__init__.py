"""Conditions: captions, layout, cameras and motion of a batch as a driving network reads them, with the guidance copies."""

from dwm.conditions.build import Kept, build_conditions, latent_times
from dwm.conditions.options import ConditionOptions

__all__ = ["ConditionOptions", "Kept", "build_conditions", "latent_times"]
