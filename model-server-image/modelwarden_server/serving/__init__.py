"""Predictions as the store keeps them: raw, with their failures."""
