"""Datasets to clips to batches: readers, windows, layout pictures, captions. It knows no network."""
