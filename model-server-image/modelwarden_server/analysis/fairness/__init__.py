"""Whether a model treats groups alike: rates by group, differences and ratios, with how sure they are.

Pure numerics on counts. Must not know where counts come from, nor what a group is.
"""
