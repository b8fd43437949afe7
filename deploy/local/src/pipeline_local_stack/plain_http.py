"""HTTP between processes of this machine."""

import ssl
from typing import Final

NOBODY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts no authority, and none is needed: httpx would load all of the system's for each client, which takes 20 ms."""
