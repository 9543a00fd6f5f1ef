"""How a restore point lies on a remote: names, metadata, locks, order of publication.

The one place where meaning meets bytes. Compatible with Xen Orchestra's layout; docs/format.md.
"""
