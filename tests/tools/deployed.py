"""Checks on moto what `cargo lambda deploy` made: function, role, URL and who may invoke it."""
import json

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
# moto keeps what was asked for as it came; AWS makes conditions of it.
policy = json.loads(boto3.client("lambda").get_policy(FunctionName="fleet-webhook")["Policy"])
asked = {
    statement["Action"]: (statement["Principal"], statement.get("FunctionUrlAuthType"), statement.get("InvokedViaFunctionUrl"))
    for statement in policy["Statement"]
}
assert asked == {
    "lambda:InvokeFunctionUrl": ("*", "NONE", None),
    # Without the last anybody could invoke the function directly, with a CodeCommit event of his own making.
    "lambda:InvokeFunction": ("*", None, True),
}, policy
groups = boto3.client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/fleet-webhook")["logGroups"]
assert [group.get("retentionInDays") for group in groups] == [30], groups
