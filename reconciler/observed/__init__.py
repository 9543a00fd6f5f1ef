"""What is: the world as last seen, in frozen values.

Knows what pools and remotes look like; never how they were read, what should be there, or what
time it is. What could not be seen is `Unknown`, a value of its own: unknown is not absent.
"""
