"""The VHD disk format, sans-IO: bytes in, structures and events out.

Knows sectors, blocks, bitmaps and parents; never files, sockets, time or what a disk is for.
"""
