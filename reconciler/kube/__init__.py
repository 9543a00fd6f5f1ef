"""A Kubernetes cluster: manifests are its objects, and status is shown in them; kopf listens.

Knows the API server, kopf and the raw shape of objects. Everything it hands on is a value that
files would have given, too; what acts on it does not know that there is a cluster. kopf is imported
here only.
"""
