"""What is trained for a cell, and what it says of new rows."""
