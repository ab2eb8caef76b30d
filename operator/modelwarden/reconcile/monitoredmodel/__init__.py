"""MonitoredModel → one cell: gather · decide · build · apply · status; deletion is a branch of the same."""
