"""How a manifest says where a secret is: never the secret itself."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from reconciler.desired.envelope import AbsolutePath, Fields
from reconciler.desired.state import SecretRef

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def _env_name(text: str) -> str:
    if not _ENV_NAME.fullmatch(text):
        raise ValueError("must be the name of an environment variable; for example POOL_PASSWORD")
    return text


class SecretSource(Fields):
    """Where a secret is found when it is needed; exactly one of the two."""

    env: Annotated[str, AfterValidator(_env_name), WithJsonSchema({"type": "string"})] | None = (
        Field(None, description="Name of an environment variable of the operator.")
    )
    file: AbsolutePath | None = Field(
        None, description="Path of a file that holds nothing but the secret."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "SecretSource":
        if (self.env is None) == (self.file is None):
            raise ValueError("must have exactly one of env and file")
        return self

    def reference(self) -> SecretRef:
        return SecretRef(env=self.env, file=self.file)
