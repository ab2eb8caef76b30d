"""What kopf calls: one file per source of events; parse, wake, nothing else."""
