"""What every foreign client does: list the tools, write a task, read it back."""

import json
import uuid


async def story(client: str, names: list[str], call) -> None:
    for needed in ("todo_create", "todo_list"):
        if needed not in names:
            raise SystemExit(f"{client}: `{needed}` is not listed, only {names}")
    title = f"written by {client} {uuid.uuid4()}"
    await call("todo_create", {"title": title})
    listed = await call("todo_list", {"limit": 100})
    if title not in json.dumps(listed):
        raise SystemExit(f"{client}: the task just written is not in the list: {json.dumps(listed)[:2000]}")
    print(f"{client}: {len(names)} tools, wrote and read a task")
