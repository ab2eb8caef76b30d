"""How well a model does, in numbers: what is counted, the metrics of counts, estimates, verdicts. Pure."""
