{{- /* What several templates say alike: names, labels, the image, the container. */}}

{{- define "fleet-webhook.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* For what the whole cluster sees: two releases share none of these. */}}
{{- define "fleet-webhook.clusterName" -}}
{{ include "fleet-webhook.fullname" . }}.{{ .Release.Namespace }}
{{- end }}

{{- define "fleet-webhook.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "fleet-webhook.labels" -}}
{{ include "fleet-webhook.selectorLabels" . }}
app.kubernetes.io/part-of: fleet
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.extraLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "fleet-webhook.registry" -}}
{{- with .Values.global.cattle.systemDefaultRegistry }}{{ trimSuffix "/" . }}/{{ end }}
{{- end }}

{{- define "fleet-webhook.image" -}}
{{ include "fleet-webhook.registry" . }}{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
{{- end }}

{{- define "fleet-webhook.podAnnotations" -}}
{{- if .Values.metrics.enabled }}
prometheus.io/scrape: "true"
prometheus.io/port: "9464"
prometheus.io/path: /metrics
{{- end }}
{{- with .Values.extraAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The variables, each once and in the order of their names. */}}
{{- define "fleet-webhook.variables" -}}
{{- $variables := dict }}
{{- range $name, $value := .Values.config }}
{{- /* YAML's numbers come as floating ones, which print as 2.62144e+07. */}}
{{- $_ := set $variables $name (kindIs "float64" $value | ternary (int64 $value) $value | toString) }}
{{- end }}
{{- with .Values.unsignedDeliveries }}{{ $_ := set $variables "UNSIGNED_DELIVERIES" . }}{{ end }}
{{- if ne .Values.webhookSecretName "gitjob-webhook" }}{{ $_ := set $variables "WEBHOOK_SECRET_NAME" .Values.webhookSecretName }}{{ end }}
{{- if ne .Values.pollingInterval "1h" }}{{ $_ := set $variables "POLLING_INTERVAL" .Values.pollingInterval }}{{ end }}
{{- if .Values.events.enabled }}{{ $_ := set $variables "GITREPO_EVENTS" "on" }}{{ end }}
{{- with .Values.gitrepoNamespaces }}{{ $_ := set $variables "GITREPO_NAMESPACES" (join "," .) }}{{ end }}
{{- if ne (int .Values.shutdownDelaySeconds) 10 }}{{ $_ := set $variables "SHUTDOWN_DELAY" (printf "%ds" (int .Values.shutdownDelaySeconds)) }}{{ end }}
{{- with .Values.pull.queueUrl }}
{{- $_ := set $variables "DELIVERY_QUEUE_URL" . }}
{{- $_ := set $variables "AWS_REGION" (regexReplaceAll "^https://sqs\\.([a-z0-9-]+)\\..*$" . "${1}") }}
{{- end }}
{{- with .Values.retry.sink }}{{ $_ := set $variables "K_SINK" . }}{{ end }}
{{- if .Values.proxy }}
{{- $_ := set $variables "HTTPS_PROXY" .Values.proxy }}
{{- $_ := set $variables "NO_PROXY" .Values.noProxy }}
{{- end }}
{{- range $name := keys $variables | sortAlpha }}
- name: {{ $name }}
  value: {{ get $variables $name | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* As whom, the image says: OpenShift gives each namespace users of its own and refuses others. */}}
{{- define "fleet-webhook.containerSecurity" -}}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
{{- end }}

{{- /* A cluster of Rancher's with Windows nodes taints the others, and Fleet's own pods look for these. */}}
{{- define "fleet-webhook.nodes" -}}
nodeSelector:
  kubernetes.io/os: linux
  {{- with omit .Values.nodeSelector "kubernetes.io/os" }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
tolerations:
  - key: cattle.io/os
    operator: Equal
    value: linux
    effect: NoSchedule
  {{- with .Values.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* Pods of Helm's hooks, which are no pods of the service: no Service and no policy finds them. */}}
{{- define "fleet-webhook.hookLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}-hook
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.extraLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "fleet-webhook.hookPod" -}}
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{ include "fleet-webhook.nodes" . }}
{{- end }}

{{- define "fleet-webhook.hookContainer" -}}
resources:
  requests:
    cpu: 10m
    memory: 16Mi
  limits:
    memory: 128Mi
securityContext:
  {{- include "fleet-webhook.containerSecurity" . | nindent 2 }}
{{- end }}

{{- define "fleet-webhook.restorePollingHook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end }}
