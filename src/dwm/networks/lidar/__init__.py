"""LiDAR: occupancy grids of sweeps, their tokens, and depths rendered from features. Nothing here reads a file."""
