"""HTTPS on 127.0.0.1 before an HTTP server, with a certificate of its own CA. The first line on stdout is JSON with the
URL; the CA is written to a file."""
import argparse
import datetime
import http.client
import http.server
import ipaddress
import json
import ssl
import sys
import tempfile
import threading
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

parser = argparse.ArgumentParser()
parser.add_argument("--upstream", required=True)
parser.add_argument("--ca", required=True, help="where to write the certificate authority")
args = parser.parse_args()
upstream = urllib.parse.urlsplit(args.upstream)


class Front(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(upstream.hostname, upstream.port)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
        connection.request("POST", self.path, body, headers)
        answered = connection.getresponse()
        body = answered.read()
        self.send_response(answered.status)
        self.send_header("Content-Type", answered.headers.get("Content-Type", ""))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        connection.close()


def certified(name, key, by, by_key, *extensions):
    """A certificate of key, signed by somebody."""
    named = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, it)]) for it in (name, by)]
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named[0]).issuer_name(named[1]).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(by_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
authority = certified("authority", ca_key, "authority", ca_key, (x509.BasicConstraints(ca=True, path_length=0), True))
san = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
certificate = certified("https", key, "authority", ca_key, (x509.BasicConstraints(ca=False, path_length=None), True), (san, False))
private = key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
with open(args.ca, "wb") as file:
    file.write(authority)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front)
server.daemon_threads = True
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
with tempfile.NamedTemporaryFile() as pem:
    pem.write(certificate + private)
    pem.flush()
    tls.load_cert_chain(pem.name)
server.socket = tls.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"url": f"https://127.0.0.1:{server.server_port}"}), flush=True)
sys.stdin.read()
