"""Waymo Open, Perception v1: TFRecords of whole frames, read without TensorFlow."""
