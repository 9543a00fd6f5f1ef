"""The qcow2 disk format, sans-IO: as much of it as import and restore need.

Knows clusters and tables; never files, sockets or what a disk is for.
"""
