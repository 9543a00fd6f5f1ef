"""What should be: manifests, checked and resolved into frozen values.

Knows the kinds of group `backup.reconciler.io/v1alpha1`, their defaults and their mistakes; never
where a manifest came from, what the world looks like, or what time it is.
"""
