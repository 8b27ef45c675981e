"""An EKS cluster in front of an API server: takes an IAM token, verifies it as EKS does, and passes the request on.

Two listeners on 127.0.0.1. HTTPS is the cluster's endpoint. Plain HTTP stands in for the EKS API: it asks moto, and puts
this endpoint and its certificate authority into what moto describes; `GET /seen` there lists the tokens that were taken.
The token's signature is made again by botocore and compared, and STS (moto's) is asked who the caller is. With another
certificate authority than its own described (`--described-ca`), nobody can verify it.
The first line on stdout is JSON with both addresses; it ends when stdin does.
"""
import argparse
import base64
import datetime
import http.client
import http.server
import ipaddress
import json
import pathlib
import ssl
import sys
import tempfile
import threading
import urllib.parse
import urllib.request
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

UTC = datetime.timezone.utc
TOKEN_LIFE = datetime.timedelta(minutes=15)

parser = argparse.ArgumentParser()
parser.add_argument("--cluster", required=True)
parser.add_argument("--region", required=True)
parser.add_argument("--access-key", required=True)
parser.add_argument("--secret-key", required=True)
parser.add_argument("--session-token", help="what a role's keys have besides")
parser.add_argument("--described-ca", help="PEM file")
parser.add_argument("--moto", required=True, help="http://127.0.0.1:PORT")
parser.add_argument("--upstream", required=True, help="URL of the API server")
parser.add_argument("--upstream-ca", help="PEM file")
parser.add_argument("--upstream-token", default="")
args = parser.parse_args()

seen = []
verifying = threading.Lock()


def signature(url, headers, at):
    """What botocore signs `url` with, at that time."""
    request = AWSRequest("GET", url, headers=headers)
    credentials = Credentials(args.access_key, args.secret_key, args.session_token)
    with mock.patch.object(botocore.auth, "get_current_datetime", lambda *_, **__: at):
        botocore.auth.SigV4QueryAuth(credentials, "sts", args.region, expires=60).add_auth(request)
    return urllib.parse.parse_qs(urllib.parse.urlsplit(request.url).query)["X-Amz-Signature"][0]


def verify(token):
    """Raises ValueError with the reason why EKS would not take it."""
    prefix = "k8s-aws-v1."
    if not token.startswith(prefix):
        raise ValueError("no EKS token")
    encoded = token[len(prefix):]
    url = urllib.parse.urlsplit(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode())
    if (url.scheme, url.netloc, url.path) != ("https", f"sts.{args.region}.amazonaws.com", "/"):
        raise ValueError(f"presigned for {url.scheme}://{url.netloc}{url.path}")
    query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query).items()}
    if query["X-Amz-SignedHeaders"] != "host;x-k8s-aws-id" or query["X-Amz-Expires"] != "60":
        raise ValueError("the cluster's name is not signed")
    at = datetime.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if not -TOKEN_LIFE < datetime.datetime.now(UTC) - at < TOKEN_LIFE:
        raise ValueError("too old")
    if query.get("X-Amz-Security-Token") != args.session_token:
        raise ValueError("another session, or none")
    bare = f"https://{url.netloc}/?Action={query['Action']}&Version={query['Version']}"
    if query["X-Amz-Signature"] != signature(bare, {"x-k8s-aws-id": args.cluster}, at):
        raise ValueError("wrong signature: other keys, or another cluster's name")
    # moto finds the service by this header, not by a query's credential.
    scope = f"AWS4-HMAC-SHA256 Credential={query['X-Amz-Credential']}, SignedHeaders=host, Signature=none"
    form = urllib.parse.urlencode({"Action": query["Action"], "Version": query["Version"]}).encode()
    asked = urllib.request.Request(args.moto, data=form, headers={"Authorization": scope})
    if b"arn:aws:sts:" not in urllib.request.urlopen(asked).read():
        raise ValueError("STS knows no such caller")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, content_type="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Cluster(Handler):
    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            with verifying:
                if token not in seen:
                    verify(token)
                    seen.append(token)
        except (ValueError, KeyError) as reason:
            print("refused:", reason, file=sys.stderr, flush=True)
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401, "message": str(reason)}
            return self.answer(401, json.dumps(status).encode())
        upstream = urllib.parse.urlsplit(args.upstream)
        if upstream.scheme == "https":
            tls = ssl.create_default_context(cafile=args.upstream_ca)
            connection = http.client.HTTPSConnection(upstream.hostname, upstream.port, context=tls)
        else:
            connection = http.client.HTTPConnection(upstream.hostname, upstream.port)
        drop = {"authorization", "host", "content-length", "accept-encoding"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in drop}
        headers["Authorization"] = f"Bearer {args.upstream_token}"
        connection.request(self.command, self.path, body, headers)
        answered = connection.getresponse()
        self.answer(answered.status, answered.read(), answered.headers.get("Content-Type", "application/json"))
        connection.close()

    do_GET = do_PATCH = do_POST = do_PUT = do_DELETE = handle_any


class Api(Handler):
    def do_GET(self):
        if self.path == "/seen":
            return self.answer(200, json.dumps(seen).encode())
        headers = {"Authorization": self.headers.get("Authorization", "")}
        try:
            described = urllib.request.urlopen(urllib.request.Request(args.moto + self.path, headers=headers))
            cluster = json.load(described)
        except urllib.error.HTTPError as error:
            self.send_response(error.code)
            body = error.read()
            for name in ("Content-Type", "x-amzn-errortype"):
                if error.headers.get(name):
                    self.send_header(name, error.headers[name])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return None
        cluster["cluster"]["endpoint"] = endpoint
        cluster["cluster"]["certificateAuthority"] = {"data": base64.b64encode(described_ca).decode()}
        return self.answer(200, json.dumps(cluster).encode())


def self_signed():
    """A certificate that is its own authority, good for 127.0.0.1 and for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "eks-front")])
    now = datetime.datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = serialization.PrivateFormat.PKCS8
    return built.public_bytes(pem), key.private_bytes(pem, private, serialization.NoEncryption())


certificate, private_key = self_signed()
described_ca = pathlib.Path(args.described_ca).read_bytes() if args.described_ca else certificate
cluster_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
with tempfile.NamedTemporaryFile() as pem:
    pem.write(certificate + private_key)
    pem.flush()
    tls.load_cert_chain(pem.name)
cluster_server.socket = tls.wrap_socket(cluster_server.socket, server_side=True)
endpoint = f"https://127.0.0.1:{cluster_server.server_port}"
api_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
for server in (cluster_server, api_server):
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
addresses = {"endpoint": endpoint, "api": f"http://127.0.0.1:{api_server.server_port}"}
print(json.dumps({**addresses, "ca": certificate.decode()}), flush=True)
sys.stdin.read()
