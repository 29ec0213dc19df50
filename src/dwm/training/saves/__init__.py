"""A run's saves: written in the background, whole or not at all, readable by any number of processes."""
