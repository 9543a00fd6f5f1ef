"""The messages that every class has: they follow from the schema alone."""

from reconciler.lab.database import Row
from reconciler.lab.failures import Failure
from reconciler.lab.methods import Call, Method, Parameter, Registry, coerce
from reconciler.lab.queries import matches
from reconciler.lab.schema import REMOVED_CLASSES, TABLES, Field, Table
from reconciler.lab.values import Value

_SELF = "self"


def _subject(table: Table) -> Parameter:
    return Parameter(_SELF, f"ref:{table.name}", None, False)


def _row(call: Call, table: Table, ref: str) -> Row:
    return call.pool.database.row(table.name, ref)


def _object_messages(registry: Registry, table: Table) -> None:
    name = table.name
    subject = (_subject(table),)
    text = (Parameter("value", "string", None, False),)

    def get_record(call: Call, ref: str) -> Value:
        return _row(call, table, ref).record()

    def get_by_uuid(call: Call, uuid: str) -> Value:
        return call.pool.database.by_uuid(name, uuid).ref

    def get_by_name_label(call: Call, label: str) -> Value:
        rows = call.pool.database.rows(name)
        return [row.ref for row in rows if row.text("name_label") == label]

    def get_all(call: Call) -> Value:
        return list(call.pool.database.tables[name])

    def get_all_records(call: Call) -> Value:
        return {row.ref: row.record() for row in call.pool.database.rows(name)}

    def get_all_where(call: Call, expression: str) -> Value:
        return [row.ref for row in call.pool.database.rows(name) if matches(expression, row)]

    def get_all_records_where(call: Call, expression: str) -> Value:
        rows = call.pool.database.rows(name)
        return {row.ref: row.record() for row in rows if matches(expression, row)}

    registry.add(Method(f"{name}.get_record", subject, get_record, False, True))
    registry.add(Method(f"{name}.get_by_uuid", text, get_by_uuid, False, True))
    if "name_label" in table.fields:
        registry.add(Method(f"{name}.get_by_name_label", text, get_by_name_label, False, True))
    if not table.listed:
        return
    registry.add(Method(f"{name}.get_all", (), get_all, False, True))
    registry.add(Method(f"{name}.get_all_records", (), get_all_records, False, True))
    registry.add(Method(f"{name}.get_all_where", text, get_all_where, False, True))
    registry.add(Method(f"{name}.get_all_records_where", text, get_all_records_where, False, True))


def _getter(registry: Registry, table: Table, field: Field) -> None:
    def get(call: Call, ref: str) -> Value:
        return _row(call, table, ref).value(field.name)

    registry.add(Method(f"{table.name}.get_{field.name}", (_subject(table),), get, False, True))


def add_setters(
    registry: Registry, table: Table, field: Field, *, asynchronous: bool = False
) -> None:
    """`set_`, and for maps `add_to_` and `remove_from_`, for sets `add_` and `remove_`.

    Those of plain fields have no `Async.` form; those that are messages of their own may.
    """

    def assign(call: Call, ref: str, value: Value) -> Value:
        call.pool.database.set(_row(call, table, ref), **{field.name: value})
        return ""

    value = Parameter("value", field.type, None, False)
    registry.add(
        Method(
            f"{table.name}.set_{field.name}", (_subject(table), value), assign, asynchronous, True
        )
    )
    if field.type.startswith("map("):
        _map_setters(registry, table, field, asynchronous)
    if field.type.startswith("set("):
        _set_setters(registry, table, field, asynchronous)


def _map_setters(registry: Registry, table: Table, field: Field, asynchronous: bool) -> None:
    key_kind, _, value_kind = field.type[4:-1].partition(",")
    key = Parameter("key", key_kind, None, False)
    value = Parameter("value", value_kind, None, False)

    def add_to(call: Call, ref: str, key: str, value: str) -> Value:
        database = call.pool.database
        with database.transaction():
            row = _row(call, table, ref)
            if key in row.mapping(field.name):
                raise Failure("MAP_DUPLICATE_KEY", table.name, field.name, ref, key)
            database.update_map(row, field.name, {key: value})
        return ""

    def remove_from(call: Call, ref: str, key: str) -> Value:
        database = call.pool.database
        with database.transaction():
            database.update_map(_row(call, table, ref), field.name, {key: None})
        return ""

    subject = _subject(table)
    add_name = f"{table.name}.add_to_{field.name}"
    registry.add(Method(add_name, (subject, key, value), add_to, asynchronous, True))
    remove_name = f"{table.name}.remove_from_{field.name}"
    registry.add(Method(remove_name, (subject, key), remove_from, asynchronous, True))


def _set_setters(registry: Registry, table: Table, field: Field, asynchronous: bool) -> None:
    value = Parameter("value", field.type[4:-1], None, False)

    def add(call: Call, ref: str, value: str) -> Value:
        database = call.pool.database
        with database.transaction():
            row = _row(call, table, ref)
            members = row.members(field.name)
            if value not in members:
                database.set(row, **{field.name: [*members, value]})
        return ""

    def remove(call: Call, ref: str, value: str) -> Value:
        database = call.pool.database
        with database.transaction():
            row = _row(call, table, ref)
            members = [member for member in row.members(field.name) if member != value]
            database.set(row, **{field.name: members})
        return ""

    subject = _subject(table)
    registry.add(
        Method(f"{table.name}.add_{field.name}", (subject, value), add, asynchronous, True)
    )
    remove_name = f"{table.name}.remove_{field.name}"
    registry.add(Method(remove_name, (subject, value), remove, asynchronous, True))


def constructor_values(class_name: str, struct: dict[str, Value]) -> dict[str, Value]:
    """The fields that a constructor's argument sets; unknown ones are ignored.

    Raises:
        Failure: for a missing or mistyped field.
    """
    values: dict[str, Value] = {}
    for field in TABLES[class_name].fields.values():
        if field.setter == "ro":
            continue
        if field.name in struct:
            values[field.name] = coerce(field.type, struct[field.name], field.name)
        elif field.required:
            raise Failure(
                "INTERNAL_ERROR", f"Server_helpers.Dispatcher_FieldNotFound({field.name!r})"
            )
    return values


def generic_methods() -> Registry:
    """All implicit messages of all classes."""
    registry = Registry()
    for table in TABLES.values():
        _object_messages(registry, table)
        for field in table.fields.values():
            _getter(registry, table, field)
            if field.setter == "rw":
                add_setters(registry, table, field)
    for name in REMOVED_CLASSES:
        for message in ("get_all", "get_all_records", "get_record", "get_by_uuid"):
            registry.add(Method(f"{name}.{message}", _ANYTHING, _removed, False, True))
    return registry


_ANYTHING = (Parameter("ignored", "any", "", True),)


def _removed(call: Call, ignored: Value) -> Value:
    raise Failure("MESSAGE_REMOVED")
