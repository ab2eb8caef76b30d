"""Modelwarden, the control plane: custom resources in, cells out."""

# Not read from the distribution: in the image the code is laid down without one.
__version__ = "0.1.0"
