"""The model's attributes, compiled once: Arrow schemas, a parser, a validator, digests of rows."""
