"""Prints what botocore, the signer of `aws eks get-token`, makes of fixed credentials and a fixed time.

src/cluster/eks.rs has its output as known answers. Run with the Python of target/tools/venv.
"""
import base64
import datetime
import sys
from unittest import mock

import botocore.auth
from botocore.credentials import Credentials
from botocore.hooks import HierarchicalEmitter
from botocore.model import ServiceId
from botocore.signers import RequestSigner

NOW = datetime.datetime(2026, 11, 23, 21, 0, 0, tzinfo=datetime.timezone.utc)
# Its own signer even where AWS's C runtime is installed, so that the clock below counts.
botocore.auth.AUTH_TYPE_MAPS["v4-query"] = botocore.auth.SigV4QueryAuth
KEYS = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


def token(region, suffix, cluster, session):
    events = HierarchicalEmitter()
    signer = RequestSigner(ServiceId("sts"), region, "sts", "v4", Credentials(*KEYS, session), events)
    request = {
        "method": "GET",
        "url": f"https://sts.{region}.{suffix}/?Action=GetCallerIdentity&Version=2011-06-15",
        "body": {},
        "headers": {"x-k8s-aws-id": cluster},
        "context": {},
    }
    with mock.patch.object(botocore.auth, "get_current_datetime", lambda *_, **__: NOW):
        url = signer.generate_presigned_url(request, region_name=region, expires_in=60, operation_name="")
    print(url, file=sys.stderr)
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


print(token("eu-central-1", "amazonaws.com", "production", None))
print(token("cn-north-1", "amazonaws.com.cn", "production", "FwoGZXIvYXdzEXAMPLE/token+/="))
