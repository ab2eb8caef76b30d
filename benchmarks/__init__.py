"""Ours and the peer's figure for the same work, in one run on one machine."""
