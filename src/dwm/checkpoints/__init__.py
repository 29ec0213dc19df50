"""Weights at rest: the card, the networks that a folder may hold, reading and writing. Samples nothing, trains nothing."""

from dwm.checkpoints.card import SamplingOptions, WeightsCard

__all__ = ["SamplingOptions", "WeightsCard"]
