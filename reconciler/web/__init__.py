"""For those who watch over HTTP: metrics and health, read off the report.

Knows nothing that the report and the tally do not say, and changes nothing.
"""
