"""Checks on moto what `cargo lambda deploy` made: function, role, URL and who may invoke it."""
import json
import os
import sys

import boto3

function = boto3.client("lambda").get_function(FunctionName="fleet-webhook")["Configuration"]
expected = {"Runtime": "provided.al2023", "MemorySize": 256, "Timeout": 10, "Architectures": ["x86_64"]}
for name, value in expected.items():
    assert function[name] == value, (name, function[name])
variables = {"EKS_CLUSTER_NAME": "production", "WEBHOOK_SECRET_ID": "fleet/webhook"}
assert function["Environment"]["Variables"] == variables, function["Environment"]
role = function["Role"].rsplit("/", 1)[1]
policies = boto3.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
assert [policy["PolicyName"] for policy in policies] == ["AWSLambdaBasicExecutionRole"], policies
url = boto3.client("lambda").get_function_url_config(FunctionName="fleet-webhook")
assert url["AuthType"] == "NONE", url
print("role", role, "url", url["FunctionUrl"], "code", function["CodeSize"], "bytes")
policy = json.loads(boto3.client("lambda").get_policy(FunctionName="fleet-webhook")["Policy"])
for statement in policy["Statement"]:
    print("may be invoked:", statement["Action"], json.dumps(statement.get("Condition", {})))
size = os.path.getsize(sys.argv[1])
assert size < 5_500_000, f"the zip has {size} bytes"
