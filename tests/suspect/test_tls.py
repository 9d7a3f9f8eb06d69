"""Encrypted endpoints: only a certificate that is trusted, for the host that was asked."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from concurrent import futures
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from onnxfp.domain import QueryProbe
from onnxfp.suspect.endpoint import EndpointOptions, open_endpoint
from tests.suspect.misbehaving import Misbehaving
from tests.suspect.test_v2_grpc import Service, good

QUICK = EndpointOptions(timeout_s=10, retries=1, token="hunter2-hunter2")


@dataclass(frozen=True)
class Certified:
    certificate: Path
    key: Path


def certified(folder: Path, address: str) -> Certified:
    """A certificate for one address, signed by its own key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    day = timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    builder = builder.add_extension(names, critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    made = Certified(folder / f"{address}.pem", folder / f"{address}.key")
    made.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made.key.write_bytes(key.private_bytes(*form))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def right(folder) -> Certified:
    return certified(folder, "127.0.0.1")


@pytest.fixture(scope="module")
def wrong(folder) -> Certified:
    return certified(folder, "127.0.0.2")


@pytest.fixture(params=["https", "grpcs"])
def serve(request):
    """`serve(certified)` starts an encrypted server; returns its URL and what it has been asked."""
    running = []

    def https(with_: Certified):
        server = Misbehaving().__enter__()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(with_.certificate, with_.key)
        server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
        running.append(server.__exit__)
        return server.url.replace("http:", "https:"), server.headers

    def grpcs(with_: Certified):
        service, server = Service(good), grpc.server(futures.ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers((service,))
        pair = [(with_.key.read_bytes(), with_.certificate.read_bytes())]
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair))
        server.start()
        running.append(lambda: server.stop(0).wait())
        return f"grpcs://127.0.0.1:{port}/v2/models/m", service.metadata

    yield https if request.param == "https" else grpcs
    for stop in running:
        stop()


def ask(url: str, ca_file: Path | None):
    with open_endpoint(url, replace(QUICK, ca_file=ca_file)) as endpoint:
        return endpoint.answer(QueryProbe(np.ones((2, 4), dtype=np.float32)))


def test_a_certificate_that_is_trusted_is_answered(serve, right):
    url, asked = serve(right)
    assert ask(url, right.certificate).coverage == 1.0
    assert asked


def test_a_certificate_of_nobody_known_is_refused_and_told_nothing(serve, right):
    url, asked = serve(right)
    assert "certificate is not trusted" in ask(url, None).reason
    assert not asked


def test_a_certificate_for_another_host_is_refused_and_told_nothing(serve, wrong):
    url, asked = serve(wrong)
    assert "certificate is not trusted" in ask(url, wrong.certificate).reason
    assert not asked


def test_a_handshake_that_does_not_end_is_cut():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/v2/models/m"
        with open_endpoint(url, replace(QUICK, timeout_s=0.2)) as endpoint:
            assert "0.2 s" in endpoint.answer(QueryProbe(np.ones((2, 4), dtype=np.float32))).reason
