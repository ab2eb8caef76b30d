"""Tables made row by row from the inferences: scores, losses, explanations. Of each row once, by its id."""
