"""Which addresses may be asked: https anywhere, plain http on this very machine only.

Enter: an address from the registry, or from a server that redirects. Leave: an address about whose host every library
agrees: a backslash, a space or a user's name is read by each in its own way, so none of them may stand in it.
Next: storage/connection.py.
"""

import ipaddress
import re
from urllib.parse import urljoin, urlsplit

from ..errors import FileError, printable

MAX_URL = 8192  # characters; signed addresses of a download have 1,500

_PLAIN = r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]"  # RFC 3986, section 2: all that an address may be written with
_LABEL = r"[A-Za-z0-9_-]{1,63}"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\]"
_URL = re.compile(rf"(https?)://({_HOST})(?::([0-9]{{1,5}}))?(?:[/?#]{_PLAIN}*)?", re.IGNORECASE)


def check_url(url):
    """Raise FileError unless the URL is https, or http to this very machine, and can be read in one way only."""
    found = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if not found or not _is_host(found[2]) or int(found[3] or 443) not in range(1, 1 << 16):
        raise _refused(url, "one that is none, or can be read in two ways")
    if found[1].lower() != "https" and not is_here(url):
        raise _refused(url, "another kind, which could be tampered with")


def follow(url, location):
    """The address that a redirect from `url` leads to; FileError where it may not be asked.

    Only this machine may lead to this machine: a stranger could press buttons of the servers that run here.
    """
    if not re.fullmatch(f"{_PLAIN}*", location):
        raise _refused(location, "a redirect to one that is none, or can be read in two ways")
    try:
        target = urljoin(url, location)
    except ValueError:
        raise _refused(location, "a redirect to one that is none") from None
    check_url(target)
    if is_here(target) and not is_here(url):
        raise _refused(target, "a redirect from the network to this machine")
    return target


def is_here(url):
    """Whether an address leads to this very machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_host(host):
    """Whether a host that matches is one: brackets promise an address of IPv6."""
    if len(host) > 253:
        return False
    try:
        return not host.startswith("[") or ipaddress.ip_address(host[1:-1]).version == 6
    except ValueError:
        return False


def _refused(url, got):
    return FileError(f"{printable(url, 160)}: expected an https address, got {got}; check the registry or try later")
