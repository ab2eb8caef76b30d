"""What holds for every test. Must not hold fixtures of one layer: they live in that layer's folder."""

from hypothesis import HealthCheck, settings

# A slow moment of a shared machine is not a defect of the code: no time limit on a single example.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")
