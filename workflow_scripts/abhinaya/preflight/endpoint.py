"""Does a server that others look after answer, and is there a key for it?"""

import socket
from urllib.parse import urlsplit

from abhinaya.config.zero_shot import Endpoint
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot.server import key

SECONDS = 10
PORTS = {"http": 80, "https": 443}


def check(endpoint: Endpoint) -> str:
    """That something listens at its address; nothing is asked, for that may cost money.

    Raises:
        UserError: nothing does, or the variable with the key is not set.
    """
    key(endpoint.key_variable)
    parts = urlsplit(endpoint.url)
    try:
        socket.create_connection((parts.hostname, parts.port or PORTS[parts.scheme]), SECONDS).close()
    except OSError as error:
        raise UserError(
            f"endpoint {endpoint.url}: nobody answers ({error.strerror or error}); start the server, or correct `url`"
        ) from None
    return f"{endpoint.url} is there"
