"""How it stands: one report per tick, which every door only renders.

Knows desired, observed and plan; never bytes, networks or clocks.
"""
