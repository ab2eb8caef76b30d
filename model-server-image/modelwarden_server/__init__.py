"""Modelwarden, the data plane: one process of a cell. See apps.py for what a process can be."""
