"""Generation: `DrivingPipeline`, one window, roll-out and diffusion forcing; the card of a weights folder."""

from dwm.checkpoints.card import SamplingOptions, WeightsCard
from dwm.generation.pipeline import DrivingPipeline

__all__ = ["DrivingPipeline", "SamplingOptions", "WeightsCard"]
