"""The custom resources, and what operator and cell tell each other: typed, frozen values.

Imported by the operator, the server image and the client alike, so it must not import anything but
pydantic and the standard library, and must not read files, clocks or the cluster.
"""
