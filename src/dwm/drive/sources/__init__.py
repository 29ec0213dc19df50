"""Sources of steering: the town, a recorded drive."""
