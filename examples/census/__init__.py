"""The census story: a model of employment, trained on the people of one year and watched over the next
three.
"""
