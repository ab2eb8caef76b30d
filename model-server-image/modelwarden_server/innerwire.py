"""What a store and those who work for its cell, sidecars and Jobs, call their doors, headers and media types.

Only who holds the cell's key, or a Job's, comes through these. Must not know what passes through.
"""

from typing import Final

INNER: Final = "/internal/v1"
SERVER: Final = f"{INNER}/server"
"""The plan of the model's server; below it `files/{sha256}` and `pods/{pod}`."""
ENVIRONMENTS: Final = f"{INNER}/environments"
ASSETS: Final = f"{INNER}/assets"
DATASETS: Final = f"{INNER}/datasets"
"""Reference datasets: what is declared of one, and its files and source."""
PROFILES: Final = f"{INNER}/artefacts/profile"
TRAININGS: Final = f"{INNER}/trainings"
EXPLAIN: Final = f"{INNER}/explain"
"""At a sidecar: explain rows now."""
TASKS: Final = f"{INNER}/explanations/tasks"
"""Pieces of stored rows that are to be explained."""
PREDICTIONS: Final = f"{INNER}/predictions"
"""Runs of a served flow."""
TASK: Final = "X-Modelwarden-Task"
"""Header: a piece's number."""
PYTHON: Final = "X-Modelwarden-Python"
PACKAGES: Final = "X-Modelwarden-Packages"
"""Headers of an environment's archive: who installed it, and how many distributions are in it."""
ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"
"""Media type of rows and explanations. It is here and not beside what is in them, because who only passes
bytes on does without pyarrow."""
