"""Explanations in the store: which rows are to be explained, who is at it, what came of it, how it is told.

Nothing here explains: rows go to the model's server as Arrow, and come back as Arrow (`explained`).
"""
