"""What those who read the pages' YAML and JSON say of the fields that the pages use: a schema that allows no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TEXT: dict[str, Any] = {"type": "string"}


def one_of(*values: str) -> dict[str, Any]:
    """Return the schema of some texts."""
    return {"enum": list(values)}


def many(items: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list that is not empty."""
    return {"type": "array", "items": items, "minItems": 1}


def an_object(properties: dict[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    """Return the schema of an object with these properties and no others."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_AMOUNTS = an_object({"cpu": {"type": "string", "pattern": r"^\d+m$"}, "memory": {"type": "string", "pattern": r"^\d+Mi$"}})
_CONTAINER = an_object(
    {
        "name": TEXT,
        "image": TEXT,
        "command": many(TEXT),
        "env": many(an_object({"name": TEXT, "value": TEXT}, ["name", "value"])),
        "envFrom": many(an_object({"secretRef": an_object({"name": TEXT}, ["name"])})),
        "resources": an_object({"requests": _AMOUNTS, "limits": _AMOUNTS}),
    },
    ["name", "image"],
)
_RULE = an_object(
    {
        "action": one_of("Count", "FailIndex", "FailJob", "Ignore"),
        "onPodConditions": many(an_object({"type": TEXT, "status": one_of("True", "False", "Unknown")}, ["type"])),
    },
    ["action"],
)
_POD = an_object(
    {
        "restartPolicy": {"const": "Never"},  # podFailurePolicy needs it
        "serviceAccountName": TEXT,
        "containers": many(_CONTAINER),
    },
    ["containers", "restartPolicy"],
)
_JOB = an_object(
    {
        "backoffLimit": {"type": "integer", "minimum": 0},
        "podFailurePolicy": an_object({"rules": many(_RULE)}, ["rules"]),
        "template": an_object({"spec": _POD}, ["spec"]),
    },
    ["template"],
)
CRON_JOB = an_object(
    {
        "apiVersion": {"const": "batch/v1"},
        "kind": {"const": "CronJob"},
        "metadata": an_object({"name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$"}}, ["name"]),
        "spec": an_object(
            {
                "schedule": TEXT,
                "concurrencyPolicy": one_of("Allow", "Forbid", "Replace"),
                "jobTemplate": an_object({"spec": _JOB}, ["spec"]),
            },
            ["schedule", "jobTemplate"],
        ),
    },
    ["apiVersion", "kind", "metadata", "spec"],
)
"""Kubernetes: batch/v1."""

_DELETES = an_object({"delete": an_object({"daysAfterCreationGreaterThan": {"type": "number"}})})
_DEFINITION = an_object(
    {
        "filters": an_object({"blobTypes": many(one_of("blockBlob", "appendBlob")), "prefixMatch": many(TEXT)}, ["blobTypes"]),
        "actions": an_object({"baseBlob": _DELETES, "snapshot": _DELETES, "version": _DELETES}),
    },
    ["filters", "actions"],
)
AZURE_POLICY = an_object(
    {
        "rules": many(
            an_object(
                {"enabled": {"type": "boolean"}, "name": TEXT, "type": {"const": "Lifecycle"}, "definition": _DEFINITION},
                ["name", "type", "definition"],
            )
        )
    },
    ["rules"],
)
"""Azure: ManagementPolicySchema."""
