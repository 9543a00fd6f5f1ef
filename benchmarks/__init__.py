"""How fast, at what cost, and how far from what the machine can do. `python -m benchmarks --help`.

Every figure stands beside a limit that was measured a moment before on the same machine, because
machines differ and are shared; read the ratios.
"""
