"""Latents and text embeddings that were made once: the store, its shards and keys, and what fills it. Knows no recipe."""
