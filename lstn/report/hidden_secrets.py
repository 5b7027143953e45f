"""Secrets in URLs, which nothing that is said or kept may show: passwords, and the tokens of signed addresses."""

import re

_PASSWORD = re.compile(r"(?<=://)([^\s/?#:@]*):[^\s/?#]*@")
_SIGNED = re.compile(
    r"(?<=[?&])([^=&\s#]*(?:auth|cred|key|pass|pwd|secret|sig|token)[^=&\s#]*)=[^&\s#]+", re.IGNORECASE
)


def without_secrets(text: str) -> str:
    """Return a text with `***` for the password of each URL in it, and for parameters that are called like a secret.

    `rtsp://user:***@camera/live`, `https://host/x.jpg?sig=***&page=2`
    """
    if "://" not in text:
        return text
    return _SIGNED.sub(r"\1=***", _PASSWORD.sub(r"\1:***@", text))
