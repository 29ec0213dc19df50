"""From a clip to a video: one window, roll-out, diffusion forcing, streaming."""
