"""What OpenDWM's users type: each command parses and calls one function."""
