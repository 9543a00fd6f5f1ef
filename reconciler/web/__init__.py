"""For those who ask over HTTP: metrics and health, read off the report; reviews, handed on.

Knows nothing that the report and the tally do not say, never what is in a review, and changes
nothing.
"""
