"""Rectified flow and DDPM: noising, time sampling, solvers. It knows nothing of a network's insides."""
