"""The VM archive (XVA), sans-IO: bytes in, what they are and whether they are whole out.

Knows tar members, chunks of disks and their checksums; never files, sockets or what a VM is for.
"""
