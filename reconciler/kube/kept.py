"""The objects of a kind that nobody but us writes: as our writes left them, and lists find them.

Nobody watches them. What a write did, its answer says; what others do to these objects is undone
sooner or later, and lists are soon enough for that. In a watch, ten thousand objects would be held
twice, and each would be news whenever we had written it.
"""

import asyncio
from collections.abc import Mapping

from reconciler.desired.document import Identity
from reconciler.kube.api import KubeApi
from reconciler.kube.errors import KubeError
from reconciler.kube.lists import rest_s, say_unlisted, take_list
from reconciler.kube.objects import Raw
from reconciler.kube.picture import Picture
from reconciler.kube.scope import Scope

_REST_S = 10.0
_FAILED_WAIT_S = 30.0


class Kept:
    """version: grows whenever objects are others. look_at: when the next list is due, by the event
    loop's clock.
    """

    def __init__(self, api: KubeApi, scope: Scope) -> None:
        self.version = 0
        self.look_at = 0.0
        self._api = api
        self._scope = scope
        self._picture = Picture(scope.parts)

    def objects(self) -> Mapping[Identity, Raw]:
        """Return all that there are; the caller's to keep."""
        return self._picture.objects()

    def take(self, raw: Raw) -> None:
        """Take an object as the answer to a call has it."""
        self.version += self._picture.take(raw)

    def lose(self, identity: Identity) -> None:
        """Take it that there is no such object."""
        self.version += self._picture.lose(identity)

    async def look(self) -> bool:
        """List all if that is due; say whether all was listed once. Nothing is written meanwhile.

        A part that cannot be listed is as it was.
        """
        machine = asyncio.get_running_loop()
        began = machine.time()
        if began >= self.look_at:
            failed = False
            for part in self._scope.parts:
                try:
                    self.version += await take_list(self._picture, part, self._api)
                except KubeError as error:
                    failed = True
                    say_unlisted(part, error)
            ended = machine.time()
            self.look_at = ended + (_FAILED_WAIT_S if failed else rest_s(ended - began, _REST_S))
        return self._picture.whole
