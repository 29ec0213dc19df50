"""OpenDV: videos of drives with a list that says which part of each is of use; no calibration, boxes or maps."""
