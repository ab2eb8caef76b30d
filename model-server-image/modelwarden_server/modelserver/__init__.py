"""Loads and runs the user's code in children; predicts and explains. The only place where user code runs."""
