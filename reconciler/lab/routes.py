"""Which handler serves which path."""

from reconciler.lab import owner
from reconciler.lab.exports import export_raw_vdi
from reconciler.lab.handlers import Handler
from reconciler.lab.imports import import_raw_vdi

ROUTES: dict[tuple[str, str], Handler] = {
    ("GET", "/export_raw_vdi"): export_raw_vdi,
    ("PUT", "/import_raw_vdi"): import_raw_vdi,
    **owner.ROUTES,
}
