"""How a manifest says where a secret is: never the secret itself."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator

from reconciler.desired.envelope import AbsolutePath, Fields, ObjectName
from reconciler.desired.rules import Rule, matches, one_of, text_schema
from reconciler.desired.state import SecretRef

_ENV_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,254}"
_ENTRY = r"[A-Za-z0-9._-]{1,253}"
_NO_ENV_NAME = "must be the name of an environment variable; for example POOL_PASSWORD"
_NO_ENTRY = "must be the name of an entry of the secret's data; for example password"


def _env_name(text: str) -> str:
    if not re.fullmatch(_ENV_NAME, text):
        raise ValueError(_NO_ENV_NAME)
    return text


def _entry(text: str) -> str:
    if not re.fullmatch(_ENTRY, text):
        raise ValueError(_NO_ENTRY)
    return text


class KubernetesSecret(Fields):
    """An entry of a Kubernetes Secret in the namespace of the object that refers to it."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: Annotated[
        str, AfterValidator(_entry), text_schema(matches(_ENTRY, _NO_ENTRY), longest=253)
    ] = Field(description="Which entry of its data holds the secret, and nothing but it.")

    later: ClassVar[Mapping[str, str]] = {
        "namespace": "a Secret stands in the namespace of the object that refers to it",
        "optional": "what is asked for is needed",
    }


class SecretSource(Fields):
    """Where a secret is found when it is needed; exactly one of the three."""

    env: (
        Annotated[
            str,
            AfterValidator(_env_name),
            text_schema(matches(_ENV_NAME, _NO_ENV_NAME), longest=255),
        ]
        | None
    ) = Field(None, description="Name of an environment variable of the operator.")
    file: AbsolutePath | None = Field(
        None, description="Path of a file that holds nothing but the secret."
    )
    secret_ref: KubernetesSecret | None = Field(
        None, description="An entry of a Kubernetes Secret; where the operator runs on one."
    )

    renamed: ClassVar[Mapping[str, str]] = {
        "secretKeyRef": "secretRef",
        "existingSecret": "secretRef.name",
        "path": "file",
    }
    rules: ClassVar[tuple[Rule, ...]] = (one_of("env", "file", "secretRef"),)

    @model_validator(mode="after")
    def _exactly_one(self) -> "SecretSource":
        if sum(one is not None for one in (self.env, self.file, self.secret_ref)) != 1:
            raise ValueError("must have exactly one of env, file and secretRef")
        return self

    def reference(self, namespace: str) -> SecretRef:
        """namespace: of the object whose field this is."""
        if self.secret_ref is None:
            return SecretRef(env=self.env, file=self.file)
        return SecretRef(secret=self.secret_ref.name, key=self.secret_ref.key, namespace=namespace)
