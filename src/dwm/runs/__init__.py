"""What a verb does, start to folder: train, generate, evaluate, encode, demo. Parses no command line."""
