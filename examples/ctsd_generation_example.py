"""Generates the inputs of an example config: `PYTHONPATH=src python examples/ctsd_generation_example.py -c … -o …`."""

import sys

from dwm.cli.main import outcome
from dwm.opendwm.commands.parse import generation_example

if __name__ == "__main__":
    sys.exit(outcome(generation_example))
