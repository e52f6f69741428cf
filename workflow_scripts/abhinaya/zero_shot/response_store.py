"""The raw answers of zero-shot systems, kept so that nothing is asked twice.

Answers of other settings stay beside: hosted ones cost money, and are there when the settings come back.
"""

from pathlib import Path

import pyarrow as pa

from abhinaya.data.part_store import PartStore

RESPONSES = pa.schema(
    [
        pa.field("request", pa.string(), nullable=False),  # digest of all that decides the answer
        ("model", pa.string()),  # as the server reports it
        ("software", pa.string()),  # the server: vLLM's version and the model's commit, or an endpoint's address
        ("user", pa.string()),  # the user message
        ("answer", pa.string()),  # raw; null for none
        ("finish_reason", pa.string()),
        ("letters", pa.string()),  # JSON: option letter -> log-probability; null where words are asked
        ("prompt_tokens", pa.int64()),
        ("generated_tokens", pa.int64()),
        ("seconds", pa.float64()),  # until the answer came, retries included
        ("requested_at", pa.string()),  # UTC, ISO 8601
    ]
)


class ResponseStore(PartStore):
    """The answers in `folder`, the first one to each request."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, RESPONSES, "answers", order="requested_at")
