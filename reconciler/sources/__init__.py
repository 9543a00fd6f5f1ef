"""Desired state arrives: files are watched, manifests parsed, secrets fetched.

Knows directories and YAML; never pools, remotes or plans.
"""
