"""Keys of a fleet: an authority of its own, the server's TLS certificate, and a pair of keys for each node."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
EARLIER = timedelta(days=1)
"""Certificates count from the day before on: a device whose clock is a little late must not refuse them."""
LOCAL = ("localhost", "127.0.0.1", "::1")
"""The server's own processes reach it by these names."""


class Authority:
    """A certificate authority of one fleet, made anew.

    Attributes:
        key: its private key, which signs the server's certificate and nothing else.
        certificate: what every node trusts.
    """

    def __init__(self, name: str):
        self.key = ec.generate_private_key(ec.SECP384R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"splitmix fleet {name}"[:64])])
        public = self.key.public_key()
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self.certificate = (
            dated(x509.CertificateBuilder(), AUTHORITY_DAYS)
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self.key, hashes.SHA384())
        )

    def server(self, hosts: Sequence[str], days: int) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        """A key and a certificate for a server that is reached by these names and addresses, for so many days."""
        key = ec.generate_private_key(ec.SECP384R1())
        public = key.public_key()
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        certificate = (
            dated(x509.CertificateBuilder(), days)
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])]))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .add_extension(x509.SubjectAlternativeName(list(map(general_name, hosts))), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
            .sign(self.key, hashes.SHA384())
        )  # fmt: skip
        return key, certificate


def dated(builder: x509.CertificateBuilder, days: int) -> x509.CertificateBuilder:
    """A certificate that counts from now on for so many days, with a number of its own."""
    now = datetime.now(timezone.utc)
    numbered = builder.serial_number(x509.random_serial_number())
    return numbered.not_valid_before(now - EARLIER).not_valid_after(now + timedelta(days=days))


def general_name(host: str) -> x509.GeneralName:
    """A host as a certificate names it: an address or a name."""
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def write_certificate(path: Path, certificate: x509.Certificate) -> None:
    """Write a certificate, which is no secret, as PEM."""
    path.write_bytes(certificate.public_bytes(Encoding.PEM))


def write_private(path: Path, key: ec.EllipticCurvePrivateKey, ssh: bool = False) -> None:
    """Write a private key to a new file that its owner alone can read.

    Args:
        ssh: in OpenSSH's format, as Flower reads the keys of nodes; else as PKCS 8.
    """
    form = PrivateFormat.OpenSSH if ssh else PrivateFormat.PKCS8
    content = key.private_bytes(Encoding.PEM, form, NoEncryption())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_node_keys(folder: Path) -> None:
    """Make the keys by which the server knows a node: `node.key`, which stays on the node, and `node.pub`."""
    key = ec.generate_private_key(ec.SECP384R1())
    write_private(folder / "node.key", key, ssh=True)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    (folder / "node.pub").write_bytes(public + b"\n")
