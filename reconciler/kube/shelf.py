"""Where objects of the cluster are kept as manifests, with the last good version of each.

The twin of `sources/shelf.py`: hand in all objects, take out Desired. An object that is gone takes
its job with it (which never deletes a backup); one that is there and cannot be understood does not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.desired.document import Document, Identity, ManifestFile
from reconciler.desired.manifest import KINDS, Manifest, read_manifest
from reconciler.desired.resolve import Good, resolve
from reconciler.desired.state import Desired
from reconciler.kube.objects import (
    Raw,
    annotations_of,
    digest_of,
    document_of,
    generation_of,
    is_leaving,
    is_over,
    version_of,
)


@dataclass(frozen=True, slots=True)
class Read:
    """What of an object a desired state was made of. annotations: those that are meant for us."""

    generation: int
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Shelved:
    """desired: the same value as long as it means the same. read: every object that is in it.

    manifests: what each of them says, checked by itself. good: their last versions that were right.
    """

    desired: Desired = field(default_factory=Desired)
    read: Mapping[Identity, Read] = field(default_factory=dict)
    manifests: Mapping[Identity, Manifest] = field(default_factory=dict)
    good: Mapping[Identity, Good] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Parsed:
    version: int
    digest: bytes
    document: Document
    read: Read


class Shelf:
    """One per operator; pictures come in one at a time, from one thread at a time."""

    def __init__(self) -> None:
        self._good: Mapping[Identity, Good] = {}
        self._parsed: dict[Identity, _Parsed] = {}
        self._manifests: dict[str, Manifest] = {}
        self._desired: Desired | None = None

    def put(self, objects: Mapping[Identity, Raw]) -> Shelved:
        """Take all objects and resolve them; what did not change is not parsed again."""
        before = self._parsed
        self._parsed = dict(self._parse(objects))
        read = {identity: parsed.read for identity, parsed in self._parsed.items()}
        if self._desired is None or _contents(before) != _contents(self._parsed):
            files = [
                ManifestFile(str(identity), (parsed.document,))
                for identity, parsed in sorted(self._parsed.items())
            ]
            resolution = resolve(files, self._good, self._read)
            self._good = resolution.good
            present = {file.path for file in files}
            for path in self._manifests.keys() - present:
                del self._manifests[path]
            if resolution.desired != self._desired:
                self._desired = resolution.desired
        assert self._desired is not None
        manifests = {
            identity: self._read(parsed.document) for identity, parsed in self._parsed.items()
        }
        return Shelved(self._desired, read, manifests, self._good)

    def _read(self, document: Document) -> Manifest:
        """Check a document, once for as long as it is the same."""
        known = self._manifests.get(document.path)
        if known is None or known.document is not document:
            known = self._manifests[document.path] = read_manifest(document)
        return known

    def _parse(self, objects: Mapping[Identity, Raw]) -> Iterator[tuple[Identity, _Parsed]]:
        for identity, raw in objects.items():
            if identity.kind not in KINDS or is_leaving(raw) or is_over(raw):
                continue
            known, version = self._parsed.get(identity), version_of(raw)
            if known is not None and known.version == version:
                yield identity, known
                continue
            digest = digest_of(raw)
            same = known is not None and known.digest == digest
            document = known.document if known and same else document_of(raw, str(identity))
            read = Read(generation_of(raw), annotations_of(raw))
            yield identity, _Parsed(version, digest, document, read)


def _contents(parsed: Mapping[Identity, _Parsed]) -> dict[Identity, bytes]:
    return {identity: each.digest for identity, each in parsed.items()}
