"""Enrichment → a part of its model's settings; its status mirrors what the model's cell says of it."""
