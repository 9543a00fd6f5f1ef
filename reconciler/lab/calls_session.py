"""The messages of session, event, task and message: the client's own affairs."""

from reconciler.lab.failures import Failure
from reconciler.lab.methods import Call, Registry
from reconciler.lab.schema import ENUMS
from reconciler.lab.values import Record, Value, now

METHODS = Registry()
method = METHODS.method

MESSAGES_MAX = 512


@method(
    'session.login_with_password(uname:string, pwd:string, version:string="1.1", '
    'originator:string="")',
    needs_session=False,
)
def login(call: Call, user: str, password: str, version: str, originator: str) -> Value:
    return call.pool.sessions.login(user, password, originator, call.host)


@method("session.logout()")
def logout(call: Call) -> Value:
    call.pool.sessions.logout(call.session)
    return ""


@method("session.local_logout()")
def local_logout(call: Call) -> Value:
    return logout(call)


@method("event.from(classes:set(string), token:string, timeout:float)")
def listen(call: Call, classes: list[str], token: str, timeout: float) -> Value:
    return call.pool.events.listen(call.session, classes, token, timeout)


@method("event.inject(class:string, ref:string)")
def inject(call: Call, class_name: str, ref: str) -> Value:
    return call.pool.events.inject(class_name, ref)


@method("event.register(classes:set(string))", asynchronous=True)
def register(call: Call, classes: list[str]) -> Value:
    call.pool.events.register(call.session, classes)
    return ""


@method("event.unregister(classes:set(string))", asynchronous=True)
def unregister(call: Call, classes: list[str]) -> Value:
    call.pool.events.unregister(call.session, classes)
    return ""


@method("event.next()")
def next_events(call: Call) -> Value:
    return call.pool.events.next(call.session)


@method("event.get_current_id()")
def get_current_id(call: Call) -> Value:
    return call.pool.events.current_id()


@method("task.create(label:string, description:string)")
def create_task(call: Call, label: str, description: str) -> Value:
    return call.pool.tasks.create(label, description, call.host).ref


@method("task.destroy(self:ref:task)")
def destroy_task(call: Call, ref: str) -> Value:
    call.pool.tasks.destroy(ref, call.task)
    return ""


@method("task.cancel(task:ref:task)", asynchronous=True)
def cancel_task(call: Call, ref: str) -> Value:
    task = call.pool.database.row("task", ref)
    if "cancel" not in task.members("allowed_operations"):
        raise Failure("OPERATION_NOT_ALLOWED", f"Task {ref} cannot be cancelled")
    call.pool.tasks.cancel(ref, call.task)
    return ""


@method("task.set_status(self:ref:task, value:enum:task_status_type)")
def set_status(call: Call, ref: str, status: str) -> Value:
    call.pool.tasks.set_status(ref, status)
    return ""


@method("task.set_progress(self:ref:task, value:float)")
def set_progress(call: Call, ref: str, progress: float) -> Value:
    call.pool.tasks.progress(ref, progress)
    return ""


@method("task.set_result(self:ref:task, value:string)")
def set_result(call: Call, ref: str, result: str) -> Value:
    call.pool.database.set(call.pool.database.row("task", ref), result=result)
    return ""


@method("task.set_error_info(self:ref:task, value:set(string))")
def set_error_info(call: Call, ref: str, error_info: list[str]) -> Value:
    call.pool.database.set(call.pool.database.row("task", ref), error_info=error_info)
    return ""


# The table a message's subject must be in.
_SUBJECTS = {"VM": "VM", "Host": "host", "SR": "SR", "Pool": "pool", "VDI": "VDI"}


@method("message.create(name:string, priority:int, cls:enum:cls, obj_uuid:string, body:string)")
def create_message(
    call: Call, name: str, priority: int, subject: str, uuid: str, body: str
) -> Value:
    assert subject in ENUMS["cls"]
    database = call.pool.database
    with database.transaction():
        if subject in _SUBJECTS:
            database.by_uuid(_SUBJECTS[subject], uuid)
        values: Record = {
            "name": name,
            "priority": priority,
            "cls": subject,
            "obj_uuid": uuid,
            "timestamp": now(),
            "body": body,
        }
        row = database.create("message", values)
        for old in database.rows("message")[:-MESSAGES_MAX]:
            database.destroy(old)
    return row.ref


@method("message.destroy(self:ref:message)")
def destroy_message(call: Call, ref: str) -> Value:
    call.pool.database.destroy(call.pool.database.row("message", ref))
    return ""


@method("message.get_since(since:datetime)")
def get_since(call: Call, since: str) -> Value:
    rows = call.pool.database.rows("message")
    return {row.ref: row.record() for row in rows if row.text("timestamp") >= since}


@method("message.get(cls:enum:cls, obj_uuid:string, since:datetime)")
def get_messages(call: Call, subject: str, uuid: str, since: str) -> Value:
    return {
        row.ref: row.record()
        for row in call.pool.database.rows("message")
        if row.text("cls") == subject
        and row.text("obj_uuid") == uuid
        and row.text("timestamp") >= since
    }
