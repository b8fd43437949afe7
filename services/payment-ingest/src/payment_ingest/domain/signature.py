"""Is a webhook body genuine? Xero signs the raw bytes with the app's webhook key.

`x-xero-signature` is the base64 form of HMAC-SHA256 over the body exactly as received
(developer.xero.com/documentation/webhooks/configuring-your-server). Nothing else is signed: no
timestamp and no id, so a genuine body may be replayed at any age and must stay harmless.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence


def sign(key: bytes, body: bytes) -> bytes:
    """The value of `x-xero-signature` for `body` under `key` (the key's text as bytes, not decoded)."""
    return base64.b64encode(hmac.digest(key, body, hashlib.sha256))


def genuine(keys: Sequence[bytes], body: bytes, signature: bytes) -> int | None:
    """Which of `keys` signed `body`: its position, or None when none did.

    Every key is tried whatever the earlier ones said, and each comparison takes the same time
    wherever the first difference is, so an answer's delay tells a forger nothing.
    """
    found: int | None = None
    for position, key in enumerate(keys):
        if hmac.compare_digest(sign(key, body), signature) and found is None:
            found = position
    return found
