"""Waymo Open, Perception: v1 (TFRecords of whole frames) and v2 (Parquet components), read without TensorFlow."""
