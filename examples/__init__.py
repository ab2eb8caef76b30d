"""Examples that run: each folder is a story with real data, told by a module of its own."""
