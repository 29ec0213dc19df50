"""The doors: one file per verb. Each parses, builds a recipe, calls one function and prints; none computes."""
