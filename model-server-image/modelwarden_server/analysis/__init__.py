"""Pure numerics: arrays and counts in, frozen values out. Knows no web, no cluster, no file system, no
tables.
"""
