"""How well a model does, answered: sums that follow the tables, windows, the verdict, the door."""
