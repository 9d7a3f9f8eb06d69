"""Which URLs are endpoints, and what of them is written down."""

from __future__ import annotations

import pytest

from onnxfp.errors import UsageError
from onnxfp.suspect.address import parse_address


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        ("http://h:8000/v2/models/m", "http://h:8000/v2/models/m"),
        ("HTTP://Host.Example/v2/models/m/", "http://host.example:80/v2/models/m"),
        ("https://h/v2/models/Some-Model_1.0", "https://h:443/v2/models/Some-Model_1.0"),
        ("https://h:443/v2/models/m/versions/1", "https://h:443/v2/models/m/versions/1"),
        ("https://h/team/serving/v2/models/m", "https://h:443/team/serving/v2/models/m"),
        ("http://[::1]:8000/v2/models/m", "http://[::1]:8000/v2/models/m"),
        ("http://[0:0:0:0:0:0:0:1]/v2/models/m", "http://[::1]:80/v2/models/m"),
        ("grpc://h:8001/v2/models/m/versions/7", "grpc://h:8001/v2/models/m/versions/7"),
        ("grpcs://10.0.0.1:8001/v2/models/m", "grpcs://10.0.0.1:8001/v2/models/m"),
    ],
)
def test_equal_endpoints_have_one_identity(url, identity):
    address = parse_address(url)
    assert address.identity == identity
    assert parse_address(identity) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:8000/v2/models/m",
        "ftp://h/v2/models/m",
        "file:///v2/models/m",
        "http:///v2/models/m",
        "http://h",
        "http://h/v2/models/",
        "http://h/v2/models/m/infer",
        "http://h/v2/models/m/versions/",
        "http://h/v2/models/..",
        "http://h/../v2/models/m",
        "http://h//v2/models/m",
        "http://h/v2/models/a%2fb",
        "http://h/v2/models/m?x=1",
        "http://h/v2/models/m?",
        "http://h/v2/models/m#part",
        "http://h/v2/models/m#",
        "http://h\\evil/v2/models/m",
        "http://h/v2/models/m\n",
        "http://h/v2/models/ m",
        "http://hö/v2/models/m",
        "http://h:0/v2/models/m",
        "http://h:99999/v2/models/m",
        "http://h:x/v2/models/m",
        "http://-h/v2/models/m",
        "http://[::1/v2/models/m",
        "http://[::zz]/v2/models/m",
        "http://[::1%25eth0]/v2/models/m",
        "grpc://h/v2/models/m",
        "grpc://h:8001",
        "grpc://h:8001/prefix/v2/models/m",
        "grpc://unix:/socket/v2/models/m",
    ],
)
def test_other_urls_are_refused_in_one_line(url):
    with pytest.raises(UsageError, match=r"expected .*; write it as http") as refused:
        parse_address(url)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://user:secret@h/v2/models/m", "http://secret@h/v2/models/m", "https://@secret/"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url):
    with pytest.raises(UsageError, match="without credentials") as refused:
        parse_address(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.1.2.3", True), ("[::1]", True), ("127.0.0.1.example", False), ("10.0.0.1", False)],
)
def test_loopback_is_this_machine_and_nothing_else(host, loopback):
    assert parse_address(f"http://{host}/v2/models/m").loopback is loopback
