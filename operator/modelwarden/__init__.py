"""Modelwarden, the control plane: custom resources in, cells out."""
