"""Masked tokens: how many stay hidden after each step of sampling."""

from __future__ import annotations

import math

import torch


def hidden_after(step: int, steps: int, tokens: int) -> int:
    """How many of `tokens` hidden at the start are hidden again after `step` (counted from 0) of `steps`.

    Cosine and product are float32: at two thirds of the steps the product is a whole number less a rounding.
    """
    share = torch.cos(torch.tensor((step + 1) / steps, dtype=torch.float32) * (math.pi / 2))
    return max(min(int((share * tokens).floor()), tokens - 1), 1)
