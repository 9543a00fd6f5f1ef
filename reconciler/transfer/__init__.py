"""The data plane: bytes from a pool to a remote, between files, and back.

Knows streams, disk files and remotes; never jobs, points or policies.
"""
