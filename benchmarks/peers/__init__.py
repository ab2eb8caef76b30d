"""What runs in a peer's own environment. Nothing here may import Modelwarden."""
