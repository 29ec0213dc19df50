"""Writing the nuScenes format: names, vocabularies, static tables, archives, the semantic prior. Knows no source of scenes."""
