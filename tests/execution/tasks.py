"""A Celery application whose worker forks its processes; broker and results are folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery

import tests.execution.site  # registers the backend, and uses it if the environment says so
from tests.execution.work import outcome

assert tests.execution.site

folder = Path(os.environ["FILEROW_TEST_BROKER"])
for name in ("queue", "control", "results"):
    (folder / name).mkdir(parents=True, exist_ok=True)

app = Celery("tasks", broker="filesystem://", backend=f"file://{folder / 'results'}")
app.conf.broker_transport_options = {
    "data_folder_in": str(folder / "queue"),
    "data_folder_out": str(folder / "queue"),
    "control_folder": str(folder / "control"),
}
app.conf.worker_hijack_root_logger = False
app.conf.broker_connection_retry_on_startup = True


@app.task
def attach_in_task() -> dict[str, Any]:
    return outcome()
