"""Objective, task mix, loop, checkpoints, callbacks. It knows no dataset's format."""
