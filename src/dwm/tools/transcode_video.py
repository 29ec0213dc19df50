"""OpenDWM's command `python src/dwm/tools/transcode_video.py`: films written anew at another rate, size or quality."""

import sys
from pathlib import Path

# The folder of a script comes first on Python's path; our modules in there must not stand for others of their names.
sys.path[0] = str(Path(__file__).resolve().parents[2])

from dwm.cli.main import outcome  # noqa: E402
from dwm.opendwm.commands.parse import transcode_video  # noqa: E402

if __name__ == "__main__":
    sys.exit(outcome(transcode_video))
