"""The only room that imports the `kubernetes` client: connect, get, list, apply, delete, lease."""
