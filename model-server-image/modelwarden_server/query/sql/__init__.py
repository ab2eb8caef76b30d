"""Questions as documented JSON, answered by a statement over the rows of the tables."""
