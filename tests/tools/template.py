"""Holds template.yaml to what it promises: who may invoke the function, what its role may do, what is off by default.

It looks at what SAM makes of the template and at what CloudFormation would make of that with some parameters, so that a
right which SAM adds by itself is seen too. Run with the Python of target/tools/venv.
"""
import logging
import os
import pathlib
import re

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

# The translator asks for a region and counts what it does.
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")
logging.disable(logging.WARNING)

ROOT = pathlib.Path(__file__).parents[2]
NOTHING = object()
PSEUDO = {"Partition": "aws", "Region": "eu-central-1", "AccountId": "111122223333", "URLSuffix": "amazonaws.com",
          "StackName": "fleet-webhook"}


class Stack:
    """The template's resources with some parameters; what their attributes would be stays as the name of the resource."""

    def __init__(self, **parameters):
        source = yaml_parse((ROOT / "template.yaml").read_text())
        source["Resources"]["Function"]["Properties"]["CodeUri"] = "s3://bucket/key"
        defaults = {name: parameter.get("Default") for name, parameter in source["Parameters"].items()}
        assert not parameters.keys() - defaults.keys(), parameters
        lists = {name for name, parameter in source["Parameters"].items() if parameter["Type"] == "CommaDelimitedList"}
        values = defaults | {name: str(value) for name, value in parameters.items()}
        self.values = {name: value.split(",") if name in lists else value for name, value in values.items()}
        self.template = transform(source, {}, None)
        self.resources = {
            name: self.resolve(resource) for name, resource in self.template["Resources"].items()
            if "Condition" not in resource or self.holds(resource["Condition"])
        }
        self.function = self.resources["Function"]["Properties"]
        self.variables = self.function["Environment"]["Variables"]

    def holds(self, condition):
        return self.resolve(self.template["Conditions"][condition])

    def resolve(self, node):
        if isinstance(node, list):
            return [item for item in map(self.resolve, node) if item is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (key, value), = node.items()
            if key == "Fn::If":
                return self.resolve(value[1] if self.holds(value[0]) else value[2])
            if key == "Condition" and isinstance(value, str):
                return self.holds(value)
            if key == "Ref":
                return NOTHING if value == "AWS::NoValue" else self.values.get(value, value)
            if key == "Fn::GetAtt":
                return ".".join(value) if isinstance(value, list) else value
            if key.startswith("Fn::"):
                return self.call(key, self.resolve(value))
        resolved = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not NOTHING}

    def call(self, function, arguments):
        match function:
            case "Fn::Equals":
                return str(arguments[0]) == str(arguments[1])
            case "Fn::Not":
                return not arguments[0]
            case "Fn::And":
                return all(arguments)
            case "Fn::Or":
                return any(arguments)
            case "Fn::Join":
                return arguments[0].join(arguments[1])
            case "Fn::Split":
                return arguments[1].split(arguments[0])
            case "Fn::Select":
                return arguments[1][int(arguments[0])]
            case "Fn::Sub":
                known = self.values | {f"AWS::{name}": value for name, value in PSEUDO.items()}
                return re.sub(r"\$\{([\w:]+)\}", lambda found: str(known.get(found[1], found[1])), arguments)
        raise AssertionError(f"what is {function}?")

    def of_type(self, kind):
        return {name: resource["Properties"] for name, resource in self.resources.items() if resource["Type"] == kind}

    def statements(self):
        """What the role may do, whichever policy says so, by its action or the first of them."""
        policies = self.resources["Role"]["Properties"]["Policies"] + list(self.of_type("AWS::IAM::RolePolicy").values())
        found = [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]
        return sorted(found, key=lambda statement: str(statement["Action"]))


def permissions(stack):
    return sorted(stack.of_type("AWS::Lambda::Permission").values(), key=str)


def only_its_front_door_is_open_to_everybody():
    everybody = {"FunctionName": "Function.Arn", "Principal": "*"}
    url = [everybody | {"Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
           everybody | {"Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"}]
    assert permissions(Stack(EksClusterName="production")) == sorted(url, key=str)
    api, = permissions(Stack(EksClusterName="production", FrontDoor="HttpApi"))
    assert (api["Principal"], api["Action"]) == ("apigateway.amazonaws.com", "lambda:InvokeFunction")
    assert api["SourceArn"] == "arn:aws:execute-api:eu-central-1:111122223333:Api/*", api
    rule, = permissions(Stack(EksClusterName="production", FrontDoor="None", CodeCommitRepositories="shop,blog"))
    assert (rule["Principal"], rule["SourceArn"]) == ("events.amazonaws.com", "CodeCommitRule.Arn")
    assert permissions(Stack(EksClusterName="production", FrontDoor="None")) == []


def the_role_may_do_what_the_parameters_name_and_no_more():
    logs = {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": "LogGroup.Arn"}
    eks = {"Effect": "Allow", "Action": "eks:DescribeCluster",
           "Resource": "arn:aws:eks:eu-central-1:111122223333:cluster/production"}
    least = Stack(EksClusterName="production", RetryQueue="false")
    assert least.statements() == [logs, eks], least.statements()
    assert "ManagedPolicyArns" not in least.resources["Role"]["Properties"]
    assert [name for name, resource in least.resources.items() if resource["Type"].startswith("AWS::IAM::")] == [
        "Role", "EksPolicy"]

    arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:"
    key = "arn:aws:kms:eu-central-1:111122223333:key/1"
    secrets = Stack(KubeconfigSecretId="kubeconfig", WebhookSecretId="fleet/webhook", SecretKmsKeyArns=key, RetryQueue="false")
    may_read = [statement for statement in secrets.statements() if statement["Action"] != logs["Action"]]
    staged = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue"}
    assert may_read == [
        {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": [key],
         "Condition": {"StringEquals": {"kms:ViaService": "secretsmanager.eu-central-1.amazonaws.com"}}},
        staged | {"Resource": f"{arn}fleet/webhook-??????",
                  "Condition": {"StringEquals": {"secretsmanager:VersionStage": ["AWSCURRENT", "AWSPREVIOUS"]}}},
        staged | {"Resource": f"{arn}kubeconfig-??????",
                  "Condition": {"StringEquals": {"secretsmanager:VersionStage": "AWSCURRENT"}}},
    ], may_read
    whole = Stack(KubeconfigFile="/k", WebhookSecretId=f"{arn}fleet/webhook-a1b2c3", RetryQueue="false")
    assert whole.statements()[1]["Resource"] == f"{arn}fleet/webhook-a1b2c3"

    queues = Stack(EksClusterName="production", CodeCommitRepositories="*").of_type("AWS::IAM::RolePolicy")["QueuePolicy"]
    assert queues["PolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "DeadCodeCommitEvents.Arn"},
        {"Effect": "Allow", "Resource": "RetryDeliveries.Arn",
         "Action": ["sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]},
    ], queues


def in_a_vpc_the_interfaces_are_lambdas_and_not_the_functions():
    vpc = Stack(EksClusterName="production", SubnetIds="subnet-1,subnet-2", SecurityGroupIds="sg-1")
    assert vpc.function["VpcConfig"] == {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    # In the role itself, since a function without these rights cannot be made.
    subnets = [policy for policy in vpc.resources["Role"]["Properties"]["Policies"] if policy["PolicyName"] == "subnets"]
    allow, deny = subnets[0]["PolicyDocument"]["Statement"]
    assert allow["Effect"] == "Allow" and all(action.startswith("ec2:") for action in allow["Action"])
    by_its_code = {"ArnLike": {"lambda:SourceFunctionArn": "arn:aws:lambda:eu-central-1:111122223333:function:*"}}
    assert deny == {"Effect": "Deny", "Action": "ec2:*", "Resource": "*", "Condition": by_its_code}
    assert "VpcConfig" not in Stack(EksClusterName="production").function


def what_costs_or_opens_something_is_off_by_default():
    stack = Stack(EksClusterName="production")
    assert not stack.of_type("AWS::Events::Rule") and not stack.of_type("AWS::Lambda::EventInvokeConfig")
    assert "DeadCodeCommitEvents" not in stack.resources
    assert "ReservedConcurrentExecutions" not in stack.function
    assert stack.function["Architectures"] == ["arm64"] and stack.function["Runtime"] == "provided.al2023"
    assert stack.of_type("AWS::Logs::LogGroup")["LogGroup"] == {"RetentionInDays": 30}
    assert stack.function["LoggingConfig"] == {"LogGroup": "LogGroup"}
    entry, = stack.of_type("AWS::EKS::AccessEntry").values()
    assert entry["KubernetesGroups"] == ["fleet-webhook"] and "AccessPolicies" not in entry
    assert stack.variables["UNSIGNED_DELIVERIES"] == "reject"
    assert all(queue["SqsManagedSseEnabled"] is True for queue in stack.of_type("AWS::SQS::Queue").values())
    reserved = Stack(EksClusterName="production", ReservedConcurrency=5).function
    assert str(reserved["ReservedConcurrentExecutions"]) == "5"


def what_codecommit_could_not_deliver_is_not_among_deliveries():
    stack = Stack(EksClusterName="production", CodeCommitRepositories="shop")
    retries, = stack.of_type("AWS::Lambda::EventInvokeConfig").values()
    assert retries["DestinationConfig"]["OnFailure"]["Destination"] == "DeadCodeCommitEvents.Arn"
    redrive = stack.of_type("AWS::SQS::Queue")["RetryDeliveries"]["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == "DeadDeliveries.Arn"
    rule, = stack.of_type("AWS::Events::Rule").values()
    assert rule["EventPattern"]["detail"]["repositoryName"] == ["shop"]


def every_variable_that_means_something_on_lambda_is_set():
    elsewhere = {"HOST", "PORT", "METRICS_PORT", "DEADLINE", "K_SINK", "AWS_LAMBDA_RUNTIME_API"}
    source = "".join((ROOT / path).read_text().split("#[cfg(test)]")[0]
                     for path in ("src/config.rs", "src/config/variables.rs"))
    read = set(re.findall(r'"([A-Z][A-Z_]*[A-Z])"', source))
    stack = Stack()
    every = set(stack.template["Resources"]["Function"]["Properties"]["Environment"]["Variables"])
    assert every == read - elsewhere, every ^ (read - elsewhere)
    chosen = Stack(EksClusterName="a", KubeconfigSecretId="b", KubeconfigFile="c", WebhookSecretId="d",
                   WebhookSecretName="e", GitRepoNamespaces="f", MaxBodyBytes=7, LogFormat="text")
    assert set(chosen.variables) == every
    assert chosen.variables["MAX_BODY_BYTES"] == "7" and chosen.variables["LOG_FORMAT"] == "text"


for promise in (
    only_its_front_door_is_open_to_everybody,
    the_role_may_do_what_the_parameters_name_and_no_more,
    in_a_vpc_the_interfaces_are_lambdas_and_not_the_functions,
    what_costs_or_opens_something_is_off_by_default,
    what_codecommit_could_not_deliver_is_not_among_deliveries,
    every_variable_that_means_something_on_lambda_is_set,
):
    promise()
    print("template.yaml:", promise.__name__.replace("_", " "))
