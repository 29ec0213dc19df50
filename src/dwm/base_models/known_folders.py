"""Where the published base models' folders are to be had. Fetches nothing and opens nothing."""

from __future__ import annotations

from pathlib import Path

GATED = "about 16 GB; gated: sign in and accept its licence there first"

KNOWN = {
    "stable-diffusion-3.5-medium": f"https://huggingface.co/stabilityai/stable-diffusion-3.5-medium ({GATED})",
    "stable-diffusion-3-medium-diffusers": f"https://huggingface.co/stabilityai/stable-diffusion-3-medium-diffusers ({GATED})",
    "stable-diffusion-2-1": "https://huggingface.co/stabilityai/stable-diffusion-2-1 (about 5 GB)",
    "CogVideoX-2b": "https://huggingface.co/THUDM/CogVideoX-2b (only vae/: about 0.9 GB)",
}
"""Where the published folders are to be had."""


def where_to_fetch(path: Path) -> str | None:
    """Where a published base model's folder, or what lies in it, is to be had, with its size; None for others."""
    return next((KNOWN[name] for name in reversed(path.parts) if name in KNOWN), None)
