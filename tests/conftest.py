"""What holds for every test. Must not hold fixtures of one layer: they live in that layer's folder."""

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

# Few examples so that the unit tests are run all the time, and the same ones, so that what fails fails by
# what was changed; `make test-long` has the full number and looks for new ones each time.
LONG = bool(os.environ.get("MODELWARDEN_LONG"))
EXAMPLES = 500 if LONG else 30
# A slow moment of a shared machine is not a defect of the code: no time limit on a single example.
settings.register_profile(
    "project",
    deadline=None,
    max_examples=EXAMPLES,
    derandomize=not LONG,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")
# Until the first test starts.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """What is loaded by now stays: looking through it again and again took a tenth of the unit tests."""
    gc.freeze()
    gc.enable()
