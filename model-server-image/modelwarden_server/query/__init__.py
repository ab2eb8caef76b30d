"""Answers from the tables and the partials: folding what was stored, comparing windows, the query API."""
