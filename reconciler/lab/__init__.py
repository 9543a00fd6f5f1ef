"""A pool in a box: a simulated XAPI with real disks, for demos, tests and benchmarks.

A stranger: it may know disk formats and nothing else of ours, so that it cannot share our mistakes.
"""
