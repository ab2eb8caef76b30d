"""Where a model is worse than elsewhere: rules over attributes, found on one half of the rows and measured on
the other. Pure numpy. Must not know files, tables, settings or the web.
"""
