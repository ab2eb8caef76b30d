"""Our sides of the comparisons, each in a process of its own: `python -m benchmarks.ours.<name> SCALE`."""
