"""Types with a meaning, said once."""

from typing import Annotated

Moment = Annotated[float, "Unix seconds; 0 for never"]
Key = Annotated[str, "project/kind/name"]
Bytes = Annotated[int, "bytes"]
