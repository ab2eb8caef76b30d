"""Work that takes long, done in a pod of its own: an HTTP client of the store, never a user of its volume."""
