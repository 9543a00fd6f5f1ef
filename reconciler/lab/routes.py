"""Which handler serves which path."""

from reconciler.lab import owner
from reconciler.lab.dump import dump_database
from reconciler.lab.exports import export_raw_vdi
from reconciler.lab.handlers import Handler
from reconciler.lab.imports import import_raw_vdi
from reconciler.lab.xva_export import export_metadata, export_vm
from reconciler.lab.xva_import import import_vm

ROUTES: dict[tuple[str, str], Handler] = {
    ("GET", "/export_raw_vdi"): export_raw_vdi,
    ("PUT", "/import_raw_vdi"): import_raw_vdi,
    ("GET", "/export"): export_vm,
    ("PUT", "/import"): import_vm,
    ("GET", "/export_metadata"): export_metadata,
    ("GET", "/pool/xmldbdump"): dump_database,
    **owner.ROUTES,
}
