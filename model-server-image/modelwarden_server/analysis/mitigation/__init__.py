"""A threshold for each group of people under which a model treats the groups more alike: found, and judged.

After Hardt, Price and Srebro (2016), without their coin tosses: the same row always gets the same answer.
Pure numerics on counts. Must not apply anything.
"""
