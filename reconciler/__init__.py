"""Declarative backup for XCP-ng and XenServer: desired manifests against observed restore points.

Two pillars that never touch: *values* (`desired`, `observed`, `plan`, `status`: meaning, no
bytes) and *crafts* (`vhd`, `qcow2`, `xapi`, `remotes`, `transfer`: bytes, no meaning). The
*workers* (`sources`, `observers`, `loop`, `executor`) span them, and the *doors* (`cli`, `lab`)
speak to the outside. ARCHITECTURE.md has the picture; `.importlinter` holds it true.
"""
