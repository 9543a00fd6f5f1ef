"""Talking to a pool: calls, events, tasks and disk streams.

Knows XAPI's records and errors; never jobs, marks, points or plans.
"""
