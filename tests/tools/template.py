"""Holds template.yaml to what it promises: who may invoke the function, what its role may do, what is off by default.

It looks at what SAM makes of the template and at what CloudFormation would make of that with some parameters, so that a
right which SAM adds by itself is seen too. Run with the Python of target/tools/venv.
"""
import json
import logging
import os
import pathlib
import re

from samcli.lib.providers.api_provider import ApiProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

# The translator asks for a region and counts what it does.
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")
logging.disable(logging.WARNING)

ROOT = pathlib.Path(__file__).parents[2]
NOTHING = object()
# The alias: nothing may invoke a version past it.
LIVE = "FunctionAliaslive"
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
                text, own = arguments if isinstance(arguments, list) else (arguments, {})
                known = self.values | {f"AWS::{name}": value for name, value in PSEUDO.items()} | own
                return re.sub(r"\$\{([\w:.]+)\}", lambda found: str(known.get(found[1], found[1])), text)
        raise AssertionError(f"what is {function}?")

    def of_type(self, kind):
        return {name: resource["Properties"] for name, resource in self.resources.items() if resource["Type"] == kind}

    def statements(self):
        """What the role may do, whichever policy says so, by its action or the first of them."""
        policies = self.resources["Role"]["Properties"]["Policies"] + list(self.of_type("AWS::IAM::RolePolicy").values())
        found = [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]
        return sorted(found, key=lambda statement: str(statement["Action"]))


def everything_that_invokes_the_function_invokes_the_alias():
    for parameters in ({}, {"FrontDoor": "HttpApi"}):
        stack = Stack(EksClusterName="production", CodeCommitRepositories="*", **parameters)
        assert all(permission["FunctionName"] == LIVE for permission in permissions(stack))
        rule, = stack.of_type("AWS::Events::Rule").values()
        assert rule["Targets"][0]["Arn"] == LIVE
        source, = stack.of_type("AWS::Lambda::EventSourceMapping").values()
        assert source["FunctionName"] == LIVE
        retries, = stack.of_type("AWS::Lambda::EventInvokeConfig").values()
        assert retries["Qualifier"] == "live"
        for url in stack.of_type("AWS::Lambda::Url").values():
            assert url["Qualifier"] == "live"
        for integration in stack.of_type("AWS::ApiGatewayV2::Integration").values():
            assert integration["IntegrationUri"] == "Function.Arn:live", integration


def a_new_version_is_taken_back_where_an_alarm_rings():
    topic = "arn:aws:sns:eu-central-1:111122223333:oncall"
    group, = Stack(EksClusterName="production", Rollout="Canary10Percent5Minutes").of_type("AWS::CodeDeploy::DeploymentGroup").values()
    assert "Alarms" not in group.get("AlarmConfiguration", {}), group
    watched = Stack(EksClusterName="production", Rollout="Canary10Percent5Minutes", AlarmTopicArn=topic)
    group, = watched.of_type("AWS::CodeDeploy::DeploymentGroup").values()
    assert group["AlarmConfiguration"] == {
        "Enabled": True, "Alarms": [{"Name": "ErrorsAlarm"}, {"Name": "UnavailableAlarm"}]}, group
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]


def alarms_are_there_for_what_there_is_and_only_with_a_topic():
    topic = "arn:aws:sns:eu-central-1:111122223333:oncall"
    assert not Stack(EksClusterName="production", CodeCommitRepositories="*").of_type("AWS::CloudWatch::Alarm")
    always = {"ErrorsAlarm", "ThrottlesAlarm", "UnavailableAlarm"}
    for parameters, names in (
        ({"RetryQueue": "false"}, {"UrlFailuresAlarm"}),
        ({"FrontDoor": "HttpApi"}, {"ApiFailuresAlarm", "RetryAgeAlarm", "DeadDeliveriesAlarm"}),
        ({"FrontDoor": "None", "CodeCommitRepositories": "*", "RetryQueue": "false"}, {"DeadCodeCommitEventsAlarm"}),
    ):
        alarms = Stack(EksClusterName="production", AlarmTopicArn=topic, **parameters).of_type("AWS::CloudWatch::Alarm")
        assert alarms.keys() == always | names, alarms.keys() ^ (always | names)
        assert all(alarm["AlarmActions"] == [topic] and alarm["Threshold"] in (0, 900) for alarm in alarms.values())


def the_alarm_for_503_rings_at_what_the_function_counts():
    stack = Stack(EksClusterName="production", AlarmTopicArn="arn:aws:sns:eu-central-1:111122223333:oncall")
    alarm = stack.of_type("AWS::CloudWatch::Alarm")["UnavailableAlarm"]
    source = (ROOT / "src/telemetry/emf.rs").read_text()
    assert f'const NAMESPACE: &str = "{alarm["Namespace"]}"' in source
    assert f'("{alarm["MetricName"]}", "Count")' in source
    dimension, = alarm["Dimensions"]
    assert f'const OF_FUNCTION: &[&str] = &["{dimension["Name"]}"]' in source and dimension["Value"] == "Function"


def the_dashboard_is_json_and_names_what_there_is():
    for parameters in ({}, {"RetryQueue": "false"}):
        board, = Stack(EksClusterName="production", Dashboard="true", **parameters).of_type("AWS::CloudWatch::Dashboard").values()
        widgets = json.loads(board["DashboardBody"])["widgets"]
        assert len(widgets) == 5 and "${" not in board["DashboardBody"], board["DashboardBody"]


def a_key_of_ones_own_is_everywhere_and_the_role_may_use_it_through_sqs():
    key = "arn:aws:kms:eu-central-1:111122223333:key/1"
    stack = Stack(EksClusterName="production", KmsKeyArn=key, CodeCommitRepositories="*", FrontDoor="HttpApi")
    for queue in stack.of_type("AWS::SQS::Queue").values():
        assert queue["KmsMasterKeyId"] == key and "SqsManagedSseEnabled" not in queue
    assert all(group["KmsKeyId"] == key for group in stack.of_type("AWS::Logs::LogGroup").values())
    assert stack.function["KmsKeyArn"] == key
    use, = [statement for statement in stack.statements() if "kms:Decrypt" in statement["Action"]]
    assert use["Resource"] == key and use["Condition"] == {
        "StringEquals": {"kms:ViaService": "sqs.eu-central-1.amazonaws.com"}}


def a_function_that_forwards_has_its_queues_and_no_cluster():
    queues = ["arn:aws:sqs:eu-central-1:444455556666:fleet"]
    url = "https://sqs.eu-central-1.amazonaws.com/444455556666/fleet"
    stack = Stack(ForwardQueueName="manager", ForwardQueueUrls=url, ForwardQueueArns=queues[0], WebhookSecretId="fleet/webhook")
    assert stack.variables["FORWARD_QUEUE_URLS"] == f"Deliveries,{url}", stack.variables
    assert not {"EKS_CLUSTER_NAME", "KUBECONFIG", "KUBECONFIG_SECRET_ID", "RETRY_QUEUE_URL"} & stack.variables.keys()
    sends = [statement["Resource"] for statement in stack.statements() if statement["Action"] == "sqs:SendMessage"]
    assert sends == ["Deliveries.Arn", queues], sends
    assert not stack.of_type("AWS::Lambda::EventSourceMapping")
    redrive = stack.of_type("AWS::SQS::Queue")["Deliveries"]["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == "DeadForwarded.Arn"
    assert "FORWARD_QUEUE_URLS" not in Stack(EksClusterName="production").variables


def who_takes_from_the_queue_may_do_that_alone():
    taking = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"]
    only = [{"Effect": "Allow", "Action": taking, "Resource": "Deliveries.Arn"}]
    pods = Stack(ForwardQueueName="manager", WebhookSecretId="w")
    role = pods.resources["ConsumerIdentity"]["Properties"]
    trust, = role["AssumeRolePolicyDocument"]["Statement"]
    assert (trust["Principal"], trust["Action"]) == ({"Service": "pods.eks.amazonaws.com"}, ["sts:AssumeRole", "sts:TagSession"])
    assert role["Policies"][0]["PolicyDocument"]["Statement"] == only
    own = Stack(ForwardQueueName="manager", WebhookSecretId="w", Consumer="Policy").of_type("AWS::IAM::ManagedPolicy")
    assert own["ConsumerRights"]["PolicyDocument"]["Statement"] == only
    assert "ConsumerIdentity" not in Stack(EksClusterName="production").resources


def sam_local_finds_the_function_behind_the_http_api():
    stacks, _ = SamLocalStackProvider.get_stacks(str(ROOT / "template.yaml"), parameter_overrides={"FrontDoor": "HttpApi"})
    route, = ApiProvider(stacks).api.routes
    assert (route.path, route.function_name, route.payload_format_version) == ("$default", "Function", "2.0"), route


def an_http_api_is_throttled_and_writes_who_called():
    stage, = Stack(EksClusterName="production", FrontDoor="HttpApi").of_type("AWS::ApiGatewayV2::Stage").values()
    assert stage["DefaultRouteSettings"]["ThrottlingRateLimit"] == 50, stage
    assert stage["AccessLogSettings"]["DestinationArn"] == "ApiLogGroup.Arn"
    line = json.loads(stage["AccessLogSettings"]["Format"])
    assert line["client"] == "$context.identity.sourceIp"
    assert not {"path", "headers", "query"} & line.keys(), line


# What nobody should have to find out from a function that fails: each value, whether it is taken.
PATTERNS = {
    "EksClusterName": (["production", ""], ["arn:aws:eks:eu-central-1:111122223333:cluster/production", "a b"]),
    "WebhookSecretId": (
        ["fleet/webhook", "", "arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:fleet/webhook-a1b2c3"],
        ["arn:aws:secretsmanager:eu-central-1:111122223333:secret:fleet/webhook", "fleet webhook"]),
    "KubeconfigFile": (["/var/task/kubeconfig", ""], ["kubeconfig"]),
    "SubnetIds": (["subnet-0123abcd", ""], ["subnet", "vpc-1"]),
    "PollingInterval": (["1h", "keep", "1h30m", "0.5h"], ["7d", "1", "never", ""]),
    "SecretCacheTtl": (["60s", "0s", "1500ms"], ["60", ""]),
    "GitRepoNamespaces": (["", "fleet-default", "fleet-default,fleet-local"], ["fleet-default, fleet-local", "*"]),
    "CodeCommitRepositories": (["", "*", "shop.git"], ["sh*p", "a b"]),
    "AlarmTopicArn": (["", "arn:aws:sns:eu-central-1:111122223333:oncall"], ["oncall"]),
    "HttpsProxy": (["", "http://proxy.example:3128"], ["proxy.example"]),
    "NoProxy": (["", "10.0.0.0/8,.svc"], ["a, b"]),
    "HostAliases": (["", "a=b", "gitea.internal=git.example.com,ssh.acme=git.example.com:22"], ["a", "a=b, c=d"]),
    "LogFilter": (["info", "fleet_webhook=debug,kube=warn"], ["", "info warn"]),
}


def a_mistyped_parameter_is_refused_before_anything_is_made():
    parameters = yaml_parse((ROOT / "template.yaml").read_text())["Parameters"]
    for name, (taken, refused) in PATTERNS.items():
        pattern = parameters[name]["AllowedPattern"]
        for value in taken:
            assert re.search(pattern, value), (name, value)
        for value in refused:
            assert not re.search(pattern, value), (name, value)
    for name, parameter in parameters.items():
        if "AllowedPattern" in parameter:
            default = parameter["Default"]
            assert re.search(parameter["AllowedPattern"], default), (name, default)
        else:
            assert "AllowedValues" in parameter or parameter["Type"] == "Number", name


def permissions(stack):
    return sorted(stack.of_type("AWS::Lambda::Permission").values(), key=str)


def only_its_front_door_is_open_to_everybody():
    everybody = {"FunctionName": LIVE, "Principal": "*"}
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
        "Role", "EksPolicy", "CodeDeployServiceRole"]

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
    # Another account's repository of that name is not ours.
    assert rule["EventPattern"]["account"] == ["AWS::AccountId"], rule["EventPattern"]
    target, = rule["Targets"]
    assert target["DeadLetterConfig"]["Arn"] == "DeadCodeCommitEvents.Arn"
    policy, = stack.of_type("AWS::SQS::QueuePolicy").values()
    assert policy["PolicyDocument"]["Statement"] == [{
        "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage",
        "Resource": "DeadCodeCommitEvents.Arn", "Condition": {"ArnEquals": {"aws:SourceArn": "CodeCommitRule.Arn"}}}]


def every_variable_that_means_something_on_lambda_is_set():
    elsewhere = {"HOST", "PORT", "METRICS_PORT", "DEADLINE", "SHUTDOWN_DELAY", "K_SINK", "K_CA_CERTS",
                 "DELIVERY_QUEUE_URL", "GITREPO_EVENTS"}
    names = (ROOT / "src/config/names.rs").read_text()
    read = set(re.findall(r'variable\(\s*"([A-Z_]+)"', names))
    assert len(read) > 20, read
    stack = Stack()
    every = set(stack.template["Resources"]["Function"]["Properties"]["Environment"]["Variables"])
    assert every == read - elsewhere, every ^ (read - elsewhere)
    chosen = Stack(EksClusterName="a", KubeconfigSecretId="b", KubeconfigFile="c", WebhookSecretId="d",
                   WebhookSecretName="e", GitRepoNamespaces="f", HostAliases="g=h", HttpsProxy="http://i", NoProxy="j", MaxBodyBytes=7, LogFormat="text")
    # A function that forwards has no queue of its own to try again from.
    assert set(chosen.variables) == every - {"FORWARD_QUEUE_URLS"}
    assert chosen.variables["MAX_BODY_BYTES"] == "7" and chosen.variables["LOG_FORMAT"] == "text"


for promise in (
    everything_that_invokes_the_function_invokes_the_alias,
    a_new_version_is_taken_back_where_an_alarm_rings,
    alarms_are_there_for_what_there_is_and_only_with_a_topic,
    the_alarm_for_503_rings_at_what_the_function_counts,
    the_dashboard_is_json_and_names_what_there_is,
    a_key_of_ones_own_is_everywhere_and_the_role_may_use_it_through_sqs,
    a_function_that_forwards_has_its_queues_and_no_cluster,
    who_takes_from_the_queue_may_do_that_alone,
    sam_local_finds_the_function_behind_the_http_api,
    an_http_api_is_throttled_and_writes_who_called,
    a_mistyped_parameter_is_refused_before_anything_is_made,
    only_its_front_door_is_open_to_everybody,
    the_role_may_do_what_the_parameters_name_and_no_more,
    in_a_vpc_the_interfaces_are_lambdas_and_not_the_functions,
    what_costs_or_opens_something_is_off_by_default,
    what_codecommit_could_not_deliver_is_not_among_deliveries,
    every_variable_that_means_something_on_lambda_is_set,
):
    promise()
    print("template.yaml:", promise.__name__.replace("_", " "))
