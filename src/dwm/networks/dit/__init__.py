"""The cross-view temporal transformer: Stable Diffusion 3's network with blocks across views and frames, and masking."""
