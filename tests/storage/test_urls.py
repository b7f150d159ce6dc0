"""Addresses: what may be asked, and what may not."""

import pytest
from hostile import one_line

from nanogpt_np.errors import FileError
from nanogpt_np.storage.urls import check_url, follow


@pytest.mark.parametrize(
    "url",
    [
        "https://huggingface.co/a/b.json?x=%20&y=(1)#z", "https://h:443", "HTTPS://H/", "http://127.0.0.1:8000/x",
        "http://[::1]:8000/x", "http://localhost/", "http://127.9.9.9/", "https://[2001:db8::1]/", "https://a_b.c-d/",
    ],
)  # fmt: skip
def test_addresses_that_are_allowed(url):
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "https://", "https:///x", "//h/x", "h/x", "ftp://h/x", "http://h/x", "http://localhost.example/",
        "https://user@h/", "https://user:word@h/", "https://@h/", "https://h\\@127.0.0.1/", "https://h/\\x",
        "https://h h/", "https://h/ x", "https://h/\tx", "https://h/\nx", " https://h/", "https://h/\x00",
        "https://h/\x1b[31m", "https://h/\x85", "https://h/\xa0", "https://h/ü", "https://ü/", "https://h/\u202e",
        "https://%68/", "https://h:/", "https://h:0/", "https://h:65536/", "https://h:-1/", "https://h:8_0/",
        "https://h:80:80/", "https://a..b/", "https://.a/", "https://[::1/", "https://[::g]/", "https://[1.2.3.4]/",
        "https://[::1%25lo]/", "http://[::ffff:1.2.3.4]/", "http://0/", "http://127.1/", "http://0x7f.1/",
        "http://2130706433/", "http://127.0.0.1.nip.io/", "http://localhost@h/", "https://" + "a" * 64 + "/",
        "https://h/" + "x" * 9000,
    ],
)  # fmt: skip
def test_addresses_that_are_refused(url):
    with pytest.raises(FileError, match="expected an https address") as caught:
        check_url(url)
    one_line(caught)


def test_only_this_machine_leads_to_this_machine():
    assert follow("http://127.0.0.1/a", "http://localhost:8/b") == "http://localhost:8/b"
    assert follow("https://h/a", "//other/b") == "https://other/b"
    for location in ("http://127.0.0.1/", "https://localhost/", "http://[::1]/"):
        with pytest.raises(FileError, match="got a redirect from the network to this machine"):
            follow("https://h/a", location)
