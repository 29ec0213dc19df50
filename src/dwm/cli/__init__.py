"""The command `dwm`: one file per verb, each of which parses, builds a recipe, calls one function and prints. Computes nothing."""

import sys

from dwm import versions

if sys.version_info[:2] < versions.PYTHON or versions.installed("typer") is None:
    # Nothing that follows can be imported, so that this alone is said here; other libraries are looked at where one fails.
    sys.exit(f"dwm: {versions.misfit() or 'its libraries are not installed: pip install . in its folder'}")
