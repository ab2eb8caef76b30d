"""The ingest sidecar: fetches what a server pod runs, has stored rows explained, takes predictions in."""
