"""What Jobs are for: the first half of what their keys allow (keys.py), and the command that they run.

Both sides of a Job spell them from here. Must not say how a Job does it.
"""

from typing import Final

PROFILE: Final = "profile"
"""Profile a closed reference dataset. The input is its content hash."""
REFERENCE: Final = "reference"
"""Load a reference dataset. The input is `<name>_<source hash>`."""
TRAIN: Final = "train"
"""Train what an enrichment needs. The input is `<kind>_<name>`."""
ASSETS: Final = "assets"
"""Fetch a file of the user's code. The input is `<slot>_<source hash>`."""
ENVIRONMENT: Final = "environment"
"""Install the packages of the user's code. The input is the environment's hash."""
