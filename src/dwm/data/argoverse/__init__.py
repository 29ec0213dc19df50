"""Argoverse 2 Sensor: logs of feather tables, pictures and sweeps, read without its devkit."""
