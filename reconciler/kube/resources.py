"""Where objects of a kind are found at the API server: group, version and plural. Pure."""

from dataclasses import dataclass

from reconciler.desired.envelope import GROUP, VERSION


@dataclass(frozen=True, slots=True)
class Resource:
    """group: "" is the core's."""

    group: str
    version: str
    plural: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str = ""
    ) -> str:
        """Return the path of one object, or of all of a namespace, or of all (None)."""
        parts = [f"/apis/{self.group}" if self.group else "/api", self.version]
        parts += ["namespaces", namespace] if namespace is not None else []
        parts += [self.plural]
        parts += [name] if name is not None else []
        parts += [subresource] if subresource else []
        return "/".join(parts)


SECRETS = Resource("", "v1", "secrets")
EVENTS = Resource("", "v1", "events")


def resource_of(kind: str) -> Resource:
    """Say where objects of one of our kinds are found."""
    return Resource(GROUP, VERSION, f"{kind.lower()}s")
