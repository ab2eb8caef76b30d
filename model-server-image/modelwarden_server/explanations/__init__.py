"""Explanations of stored rows: which, whose turn, the table, and what people ask of it."""
