"""Places for bytes: keys and bytes, never points or chains.

Callers ask for traits, never for the kind of remote. What a backup looks like on a remote is the
secret of `catalog`.
"""
