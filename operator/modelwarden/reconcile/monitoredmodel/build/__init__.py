"""The objects of a cell, one file per kind: pure functions from a blueprint to a manifest."""
