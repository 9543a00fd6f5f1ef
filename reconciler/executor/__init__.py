"""Actions happen: admitted, run as steps, their ends noted.

Knows how to do each action; never which ones should be.
"""
