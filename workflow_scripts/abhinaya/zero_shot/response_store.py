"""The raw responses of zero-shot systems, stored so that no request is sent twice.

Responses to requests of other settings are kept: they may have cost money, and the settings may be used again.
"""

from pathlib import Path

import pyarrow as pa

from abhinaya.data.part_store import PartStore

RESPONSES = pa.schema(
    [
        pa.field("request", pa.string(), nullable=False),  # digest of everything that determines the response
        ("model", pa.string()),  # as the server reports it
        ("software", pa.string()),  # the server: vLLM's version and the model's commit, or an endpoint's address
        ("user", pa.string()),  # the user message
        ("answer", pa.string()),  # raw; null for none
        ("finish_reason", pa.string()),
        ("letters", pa.string()),  # JSON: option letter -> log-probability; null in word mode
        ("prompt_tokens", pa.int64()),
        ("generated_tokens", pa.int64()),
        ("seconds", pa.float64()),  # until the response, including retries
        ("requested_at", pa.string()),  # UTC, ISO 8601
    ]
)


class ResponseStore(PartStore):
    """The responses in `folder`; the first one for each request. Those without an answer are requested again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, RESPONSES, "responses", order="requested_at", filled=("answer", "letters"))
