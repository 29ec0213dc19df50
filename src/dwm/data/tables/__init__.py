"""Data sets made of tables: `SceneTables` is what a format fills; the index, scenes, windows, clips and checks work on it."""
