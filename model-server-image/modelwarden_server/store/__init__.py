"""Delta tables: append exactly once, verify at start, read. The only room that writes tables."""
