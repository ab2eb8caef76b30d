"""Reconciling: read, decide, build, apply, report. Decisions are pure; the world is behind `ports`."""
