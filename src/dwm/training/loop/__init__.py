"""The loop: steps, optimizers, averages, the log, the watchdog and callbacks. Knows no network."""
