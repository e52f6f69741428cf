"""Check that an endpoint can be reached and that its key is set."""

import socket
from urllib.parse import urlsplit

from abhinaya.config.zero_shot import Endpoint
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot.server import key

TIMEOUT = 10  # seconds
PORTS = {"http": 80, "https": 443}


def check(endpoint: Endpoint) -> str:
    """Check that a connection is possible; no request is sent, since that may cost money.

    Raises:
        UserError: the connection failed, or the variable with the key is not set.
    """
    key(endpoint.key_variable)
    parts = urlsplit(endpoint.url)
    try:
        socket.create_connection((parts.hostname, parts.port or PORTS[parts.scheme]), TIMEOUT).close()
    except OSError as error:
        raise UserError(
            f"endpoint {endpoint.url}: connection failed ({error.strerror or error}); start the server, or correct "
            "`url`"
        ) from None
    return f"{endpoint.url} is reachable"
