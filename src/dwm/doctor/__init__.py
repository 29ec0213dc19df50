"""The environment's checks: what is there, what is missing, and how to mend it. It repairs nothing silently."""

from dwm.doctor.checks import Check, State, check_environment

__all__ = ["Check", "State", "check_environment"]
