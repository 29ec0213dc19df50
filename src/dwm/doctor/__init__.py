"""The environment's checks. It repairs nothing silently."""
