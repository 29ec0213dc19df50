"""The cross-view temporal U-Net: Stable Diffusion 2.1's network with blocks across views and frames."""
