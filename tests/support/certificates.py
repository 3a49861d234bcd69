"""TLS certificates for tests, made with the openssl command: an authority of one's own, and what it signs."""

import ipaddress
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

_CONFIG = """
[req]
distinguished_name = nothing
[nothing]
[ca]
default_ca = authority
[authority]
new_certs_dir = {folder}
database = {folder}/index.txt
rand_serial = yes
unique_subject = no
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
default_md = sha256
policy = any_name
[any_name]
commonName = supplied
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
_SERVER = """
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {kind}:{name}
"""
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
_DAY = timedelta(days=1)


class Authority:
    """A certificate authority in a folder; clients that are given `ca_file` believe what it signs."""

    def __init__(self, folder):
        """Make its key and its own certificate; skip the test where there is no openssl."""
        if not shutil.which("openssl"):
            pytest.skip("there is no openssl here to make certificates with: apt-get install openssl")
        self._folder = Path(folder)
        self.ca_file = str(self._folder / "ca.pem")
        (self._folder / "index.txt").touch()
        (self._folder / "ca.cnf").write_text(_CONFIG.format(folder=folder))
        own = ("-x509", "-extensions", "root", "-days", "30", "-subj", "/CN=Authority of the tests")
        self._openssl("req", *own, *_NEW_KEY, "-keyout", "ca.key", "-out", "ca.pem")

    def certificate(self, name="localhost", *, start=-_DAY, end=_DAY):
        """Return a file with a key and a certificate for a host's name or address; its times count from now."""
        stem = f"{name}{start.total_seconds():.0f}{end.total_seconds():+.0f}"
        request, signed, result = f"{stem}.csr", f"{stem}.crt", self._folder / f"{stem}.pem"
        (self._folder / f"{stem}.ext").write_text(_SERVER.format(kind=_kind(name), name=name))
        self._openssl("req", *_NEW_KEY, "-keyout", f"{stem}.key", "-out", request, "-subj", f"/CN={name}")
        valid = ("-startdate", _asn1(start), "-enddate", _asn1(end))
        self._openssl("ca", "-batch", "-notext", *valid, "-extfile", f"{stem}.ext", "-in", request, "-out", signed)
        result.write_bytes((self._folder / f"{stem}.key").read_bytes() + (self._folder / signed).read_bytes())
        return str(result)

    def _openssl(self, verb, *arguments):
        subprocess.run(
            ["openssl", verb, "-config", "ca.cnf", *arguments], cwd=self._folder, check=True, capture_output=True
        )


def _kind(name):
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "DNS"
    return "IP"


def _asn1(from_now):
    return f"{datetime.now(UTC) + from_now:%Y%m%d%H%M%SZ}"
