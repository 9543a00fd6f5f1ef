"""Which network of a pool an interface comes to that was on another pool's, or on another network.

As somebody chose; else the network of the same uuid, else the one of the same name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.desired.state import NetworkChoice
from reconciler.executor.refusal import Refused
from reconciler.plan.reasons import Reason
from reconciler.xapi.client import XapiClient

_ALL_OTHERS = "*"


@dataclass(frozen=True, slots=True)
class Networks:
    """by_uuid, by_name: references. chosen: what somebody chose, by the old name or uuid."""

    by_uuid: Mapping[str, str]
    by_name: Mapping[str, str]
    chosen: Mapping[str, str]

    @staticmethod
    async def of_pool(client: XapiClient, choices: Sequence[NetworkChoice] = ()) -> "Networks":
        """Raises XapiError; Refused: no network, or more than one, is called like a choice."""
        records = await client.call("network.get_all_records")
        by_uuid = {str(record["uuid"]): ref for ref, record in records.items()}
        names = [str(record["name_label"]) for record in records.values()]
        by_name = {str(record["name_label"]): ref for ref, record in records.items()}
        chosen = {}
        for choice in choices:
            ref = by_uuid.get(choice.target) or by_name.get(choice.target)
            if ref is None or (choice.target not in by_uuid and names.count(choice.target) > 1):
                count = f"{names.count(choice.target)} networks" if ref else "no network"
                why = f"the pool has {count} called {choice.target}"
                raise Refused(Reason.NETWORK_UNKNOWN, why)
            chosen[choice.source] = ref
        return Networks(by_uuid, by_name, chosen)

    def of(self, interface: Mapping[str, Any]) -> str | None:
        """The network (a reference) for an interface, of which is known where it was; or None."""
        uuid = str(interface.get("$network$uuid", ""))
        name = str(interface.get("$network$name_label", ""))
        chosen = self.chosen.get(uuid) or self.chosen.get(name) or self.chosen.get(_ALL_OTHERS)
        return chosen or self.by_uuid.get(uuid) or self.by_name.get(name)
