"""Recorded cases of OpenDWM, computed by our code and compared with their records."""
