"""Choices of the noise processes. Computes nothing."""

from __future__ import annotations

from typing import Literal

Weighting = Literal["logit_normal", "mode", "uniform"]
