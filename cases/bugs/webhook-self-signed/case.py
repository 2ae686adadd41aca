"""A destination with a self-signed certificate is trusted only by the output that names the certificate."""

import subprocess
from pathlib import Path

from harness.case import Case

# The option of `outputs add webhook` for a file of trusted certificates of this destination.
TRUST_OPTION = "--ca-file"


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """The result of plain `openssl req -x509`: a certificate that is marked as a CA."""
    key = ("-newkey", "rsa:2048", "-nodes", "-keyout", "self.key", "-subj", "/CN=localhost")
    openssl(folder, "req", "-x509", *key, "-out", "self.pem", "-days", "2", "-addext", "subjectAltName=IP:127.0.0.1")
    return folder / "self.pem", folder / "self.key"


def of_own_authority(folder: Path) -> tuple[Path, Path]:
    """A certificate that is signed by a private CA, `ca.pem`."""
    authority = ("-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-subj", "/CN=own-ca")
    openssl(folder, "req", "-x509", *authority, "-out", "ca.pem", "-days", "2")
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=l")
    (folder / "leaf.ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "leaf.ext")
    openssl(folder, "x509", "-req", "-in", "leaf.csr", *signing, "-out", "leaf.pem")
    return folder / "leaf.pem", folder / "leaf.key"


def check(case: Case) -> None:
    certificates = case.temporary / "certificates"
    certificates.mkdir()
    own, leaf = self_signed(certificates), of_own_authority(certificates)
    node = case.node()
    servers = {"self-signed": case.receiver(certificate=own), "leaf": case.receiver(certificate=leaf)}
    trusted = {"self-signed": own[0], "leaf": certificates / "ca.pem"}

    help_text = node.pantherctl.run("outputs", "add", "webhook", "--help", as_json=False).text()
    case.holds("help of `outputs add webhook`", TRUST_OPTION in help_text, f"documents {TRUST_OPTION}", "it does not")
    for name, server in servers.items():
        node.add_output("webhook", f"{name}-unknown", f"{server.url}/x")
        case.same(f"delivery to {name}, which is not trusted", False, node.test_output(f"{name}-unknown")["success"])
        words = ("outputs", "add", "webhook", name, f"{server.url}/x", TRUST_OPTION, trusted[name])
        added = node.pantherctl.run(*words)
        if case.succeeds(f"adding {name} with its certificate", added):
            delivery = node.test_output(name)
            case.holds(f"delivery to {name}, which is trusted", delivery["success"], "delivered", delivery["message"])
        case.same(f"requests that reached {name}", ["/x"], [request.path for request in server.requests()])
