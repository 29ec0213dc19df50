"""Micro-batches by number: which clips, cut and prepared by worker processes ahead of their use."""
