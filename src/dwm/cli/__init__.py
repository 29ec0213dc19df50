"""The command `dwm`: one file per verb, each of which parses, builds a recipe, calls one function and prints. Computes nothing."""
