"""The pool's database: objects of every class, their relations, and a history of changes.

Every change bumps a generation; `events` reads the history by it. All access happens under one
lock: `with database.transaction():` groups changes, commits them at its end and wakes whoever
waits for a change. Values are replaced, never changed in place, so records handed out stay valid.

Beside the objects there are *documents* (kind, key → JSON): state of the lab that no client sees,
such as the nodes of the VHD trees.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from reconciler.lab.failures import Failure, handle_invalid
from reconciler.lab.schema import DERIVED, RELATIONS, TABLES, Table, empty_value
from reconciler.lab.store import Store
from reconciler.lab.values import DateTime, Record, Value, new_ref, new_uuid

# How many deletions are remembered for event.from; a token older than that gets EVENTS_LOST.
TOMBSTONES_MAX = 100_000
_DOCUMENT = "~"  # prefix of a document's kind in the store: no class is called so


class Row:
    """One object. `links` are its reverse sets, kept by the database."""

    __slots__ = ("created", "links", "modified", "ref", "table", "values")

    def __init__(self, table: Table, ref: str, values: Record, generation: int) -> None:
        self.table = table
        self.ref = ref
        self.values = values
        self.links: dict[str, dict[str, None]] = {name: {} for name in DERIVED[table.name]}
        self.created = generation
        self.modified = generation

    def value(self, field: str) -> Value:
        if field in self.links:
            return list(self.links[field])
        return self.values[field]

    def text(self, field: str) -> str:
        return cast(str, self.values[field])

    def number(self, field: str) -> int:
        return cast(int, self.values[field])

    def flag(self, field: str) -> bool:
        return cast(bool, self.values[field])

    def mapping(self, field: str) -> dict[str, str]:
        """A map field; callers must not change it in place."""
        return cast("dict[str, str]", self.values[field])

    def members(self, field: str) -> list[str]:
        """A set field, or a reverse set, as a new list."""
        return list(cast("list[str]", self.value(field)))

    def record(self) -> Record:
        record = dict(self.values)
        for field, refs in self.links.items():
            record[field] = list(refs)
        return record


class Tombstone:
    """A deleted object, for those who saw it before."""

    __slots__ = ("class_name", "created", "deleted", "ref")

    def __init__(self, row: Row, deleted: int) -> None:
        self.class_name = row.table.name
        self.ref = row.ref
        self.created = row.created
        self.deleted = deleted


class Database:
    """All objects of one pool, opened from and committed to a `Store`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.changed = threading.Condition(threading.RLock())
        self.generation = 1
        self.tables: dict[str, dict[str, Row]] = {name: {} for name in TABLES}
        self.recent: OrderedDict[str, Row] = OrderedDict()  # by last change, oldest first
        self.tombstones: deque[Tombstone] = deque()
        self.forgotten = 0  # generation up to which deletions are no longer known
        self._documents: dict[str, dict[str, Record]] = {}
        self._by_uuid: dict[tuple[str, str], str] = {}
        self._dirty: dict[tuple[str, str], Record | None] = {}
        self._deferred: list[Callable[[], None]] = []
        self._depth = 0
        self._announced = 0
        self._life = 0
        self._closed = False
        self._load()

    def _load(self) -> None:
        for kind, key, value in self._store.load():
            if kind == _DOCUMENT + "generation":
                # Everything of an earlier life is older than any token of this one.
                self.generation = cast(int, value["value"]) + 1
            elif kind.startswith(_DOCUMENT):
                self._documents.setdefault(kind[1:], {})[key] = value
            elif kind in self.tables:
                table = TABLES[kind]
                self._insert(Row(table, key, _typed(table, value), self.generation))
        for table_rows in self.tables.values():
            for row in table_rows.values():
                self._link(row, seen=False)
        self.forgotten = self.generation

    def _insert(self, row: Row) -> None:
        self.tables[row.table.name][row.ref] = row
        self._by_uuid[row.table.name, row.text("uuid")] = row.ref
        self.recent[row.ref] = row

    # -- transactions ---------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the lock; commit and wake waiters when the outermost one ends.

        What happened before an exception stays, as in XAPI's own database.
        """
        with self.changed:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._commit()

    def defer(self, action: Callable[[], None]) -> None:
        """Do something right after this transaction is on disk, in the same thread."""
        assert self._depth > 0
        self._deferred.append(action)

    def wait(self, timeout_s: float) -> None:
        """Give the lock away until something changes; also from within a transaction.

        Raises:
            Failure: the toolstack ended meanwhile, and with it all that waited in it.
        """
        depth, self._depth = self._depth, 0
        life = self._life
        self._commit()
        try:
            self.changed.wait(timeout_s)
        finally:
            self._depth = depth
        if self._life != life:
            raise Failure("INTERNAL_ERROR", "the toolstack has ended")

    def end_waiting(self) -> None:
        """Wake all who wait, for good: the toolstack is killed or stopped."""
        with self.changed:
            self._life += 1
            self.changed.notify_all()

    def _commit(self) -> None:
        if self._dirty and not self._closed:
            generation: Record = {"value": self.generation}
            self._dirty[_DOCUMENT + "generation", ""] = generation
            dirty, self._dirty = self._dirty, {}
            self._store.save(
                [(kind, key, value) for (kind, key), value in dirty.items() if value is not None],
                [name for name, value in dirty.items() if value is None],
            )
        deferred, self._deferred = self._deferred, []
        for action in deferred:
            action()
        if self.generation != self._announced:
            self._announced = self.generation
            self.changed.notify_all()

    def _touch(self, row: Row, *, stored: bool = True) -> None:
        self.generation += 1
        row.modified = self.generation
        self.recent.move_to_end(row.ref)
        if stored and row.table.persistent:
            self._dirty[row.table.name, row.ref] = row.values

    # -- reading ----------------------------------------------------------------------------------

    def find(self, class_name: str, ref: str) -> Row | None:
        return self.tables[class_name].get(ref)

    def row(self, class_name: str, ref: str) -> Row:
        """The object, or HANDLE_INVALID."""
        row = self.tables[class_name].get(ref)
        if row is None:
            raise handle_invalid(class_name, ref)
        return row

    def rows(self, class_name: str) -> list[Row]:
        return list(self.tables[class_name].values())

    def by_uuid(self, class_name: str, uuid: str) -> Row:
        ref = self._by_uuid.get((class_name, uuid))
        if ref is None:
            raise Failure("UUID_INVALID", class_name, uuid)
        return self.tables[class_name][ref]

    def by_ref_or_uuid(self, class_name: str, name: str) -> Row:
        """As the HTTP handlers resolve their arguments."""
        is_ref = name.startswith("OpaqueRef:")
        return self.row(class_name, name) if is_ref else self.by_uuid(class_name, name)

    # -- writing ----------------------------------------------------------------------------------

    def create(self, class_name: str, values: Record, ref: str | None = None) -> Row:
        """Add an object; fields not given hold their defaults, `uuid` a fresh one."""
        table = TABLES[class_name]
        complete: Record = {
            name: field.default
            for name, field in table.fields.items()
            if name not in DERIVED[class_name]
        }
        complete["uuid"] = new_uuid()
        for name, value in values.items():
            assert name in complete, f"{class_name}.{name}"
            complete[name] = value
        with self.transaction():
            self.generation += 1
            row = Row(table, ref or new_ref(), complete, self.generation)
            self._insert(row)
            self._link(row)
            self._touch(row)
            row.created = row.modified
        return row

    def set(self, row: Row, **values: Value) -> None:
        """Change fields; an unchanged value makes no event, as in XAPI."""
        with self.transaction():
            if row.table.name not in TABLES or row.ref not in self.tables[row.table.name]:
                raise handle_invalid(row.table.name, row.ref)
            changes = {name: new for name, new in values.items() if row.values[name] != new}
            if not changes:
                return
            for name, new in changes.items():
                relation = RELATIONS.get((row.table.name, name))
                if relation is not None:
                    self._unlink(row, name, relation)
                row.values = {**row.values, name: new}
                if relation is not None:
                    self._link_one(row, name, relation)
            self._touch(row)

    def update_map(self, row: Row, field: str, changes: Mapping[str, str | None]) -> None:
        """Set keys of a map field, or drop those given as None."""
        with self.transaction():
            new = {**row.mapping(field), **changes}
            self.set(row, **{field: {k: v for k, v in new.items() if v is not None}})

    def touch(self, row: Row) -> None:
        """Make an event of an object that did not change (heartbeat, `event.inject`)."""
        with self.transaction():
            self._touch(row, stored=False)

    def destroy(self, row: Row) -> None:
        """Remove an object; a second time is no error."""
        with self.transaction():
            if self.tables[row.table.name].pop(row.ref, None) is None:
                return
            del self.recent[row.ref]
            del self._by_uuid[row.table.name, row.text("uuid")]
            for (class_name, field), relation in RELATIONS.items():
                if class_name == row.table.name:
                    self._unlink(row, field, relation)
            self.generation += 1
            self.tombstones.append(Tombstone(row, self.generation))
            if len(self.tombstones) > TOMBSTONES_MAX:
                self.forgotten = self.tombstones.popleft().deleted
            if row.table.persistent:
                self._dirty[row.table.name, row.ref] = None

    # -- relations --------------------------------------------------------------------------------

    def _link(self, row: Row, *, seen: bool = True) -> None:
        for (class_name, field), relation in RELATIONS.items():
            if class_name == row.table.name:
                self._link_one(row, field, relation, seen=seen)

    def _link_one(
        self, row: Row, field: str, relation: tuple[str, str], *, seen: bool = True
    ) -> None:
        target = self.tables[relation[0]].get(row.text(field))
        if target is not None:
            target.links[relation[1]][row.ref] = None
            if seen:
                self._touch(target, stored=False)

    def _unlink(self, row: Row, field: str, relation: tuple[str, str]) -> None:
        target = self.tables[relation[0]].get(row.text(field))
        if target is not None and row.ref in target.links[relation[1]]:
            del target.links[relation[1]][row.ref]
            self._touch(target, stored=False)

    # -- documents --------------------------------------------------------------------------------

    def documents(self, kind: str) -> dict[str, Record]:
        return dict(self._documents.get(kind, {}))

    def document(self, kind: str, key: str) -> Record | None:
        return self._documents.get(kind, {}).get(key)

    def put_document(self, kind: str, key: str, value: Record) -> None:
        with self.transaction():
            self._documents.setdefault(kind, {})[key] = value
            self._dirty[_DOCUMENT + kind, key] = value

    def drop_document(self, kind: str, key: str) -> None:
        with self.transaction():
            if self._documents.get(kind, {}).pop(key, None) is not None:
                self._dirty[_DOCUMENT + kind, key] = None

    # -- ends -------------------------------------------------------------------------------------

    def close(self) -> None:
        """What a thread still does afterwards is not kept, as when the process ends."""
        with self.changed:
            self._closed = True
            self.end_waiting()
            self._store.close()


def _typed(table: Table, stored: Record) -> Record:
    """A stored record with its datetimes, and with fields that this version added."""
    values: Record = {}
    for name, field in table.fields.items():
        if name in DERIVED[table.name]:
            continue
        value = stored.get(name, field.default)
        if value is None:
            value = empty_value(field.type)
        values[name] = DateTime(value) if field.type == "datetime" else value
    return values
