"""A real Kubernetes for a machine that may have no Docker: `python -m testbed --help`.

Used by `make demo` and the tests. Nothing of the product may import it, and it imports nothing of the
product: only the standard library and rich.
"""
