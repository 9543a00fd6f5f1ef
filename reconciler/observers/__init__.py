"""The world is looked at: pools by their events, remotes by their listings.

Turns what crafts see into observed values; never decides anything.
"""
