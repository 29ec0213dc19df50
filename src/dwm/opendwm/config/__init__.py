"""OpenDWM's JSON configs, translated by explicit tables: every key is taken, or left out with its reason."""
