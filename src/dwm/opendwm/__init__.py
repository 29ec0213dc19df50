"""The door for OpenDWM's users: their configs, weight names, commands and recorded numbers, by explicit tables."""
