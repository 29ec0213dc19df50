"""Runs of sweeps: train, generate and evaluate the networks of LiDAR."""
