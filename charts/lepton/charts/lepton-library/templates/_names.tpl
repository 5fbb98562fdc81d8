{{/*
What the parts are, once: who calls whom, who has a database, who uses the Kubernetes API ("jobs" runs Jobs, "pods" looks at
pods), the label of the pods of its Jobs, and the gRPC service whose health says that it is ready, where that is later than
it runs. Addresses, Roles and network policies all follow from this table.
*/}}
{{- define "lepton.parts" -}}
registry: {database: true, api: pods, calls: []}
data-ingest: {database: true, api: jobs, calls: [], jobLabel: lepton.dev/dataset-version}
trainer: {database: true, api: jobs, calls: [data-ingest, registry], jobLabel: lepton.dev/training-job}
compressor: {database: true, api: jobs, calls: [data-ingest, registry], jobLabel: lepton.dev/compression-job}
rl-agent: {database: true, api: jobs, calls: [registry], jobLabel: lepton.dev/learning-run}
inference: {database: false, api: none, calls: [registry], ready: inference.GRPCInferenceService}
{{- end }}

{{/* One row of the table. Takes a chart's context: a subchart is called after its part. */}}
{{- define "lepton.part" -}}
{{- index (include "lepton.parts" . | fromYaml) .Chart.Name | toYaml }}
{{- end }}

{{/* `<release>-<name>`. Takes a list: context, name. */}}
{{- define "lepton.name" -}}
{{- printf "%s-%s" (index . 0).Release.Name (index . 1) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Where a part is reached by another: every address of its pods, so that gRPC goes round. List: context, part. */}}
{{- define "lepton.address" -}}
{{- include "lepton.name" . }}-headless:7000
{{- end }}

{{/* What a Deployment, a Service or a policy finds pods by. List: context, part. */}}
{{- define "lepton.selectorLabels" -}}
app.kubernetes.io/name: lepton
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The labels of everything. List: context, part. */}}
{{- define "lepton.labels" -}}
{{ include "lepton.selectorLabels" . }}
app.kubernetes.io/part-of: lepton
app.kubernetes.io/version: {{ include "lepton.version" (index . 0) | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version }}
{{- end }}

{{- define "lepton.version" -}}
{{- .Values.global.image.tag | default .Chart.AppVersion | trunc 63 }}
{{- end }}

{{/* An image. List: context, the name it is built under, the image that the values give in its place. */}}
{{- define "lepton.image" -}}
{{- $root := index . 0 -}}
{{- with index . 2 }}{{ . }}{{ else }}
{{- printf "%s/lepton/%s:%s" $root.Values.global.image.registry (index . 1) ($root.Values.global.image.tag | default $root.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* The names of Secrets: the user's, or those that the chart makes. */}}
{{- define "lepton.credentialsSecret" -}}
{{- .Values.global.auth.credentialsSecret | default (include "lepton.name" (list . "credentials")) }}
{{- end }}
{{- define "lepton.servicesTokenSecret" -}}
{{- .Values.global.auth.servicesTokenSecret | default (include "lepton.name" (list . "services-token")) }}
{{- end }}
{{- define "lepton.userTokenSecret" -}}
{{- .Values.global.auth.userTokenSecret | default (include "lepton.name" (list . "user-token")) }}
{{- end }}

{{- define "lepton.metricsTokenSecret" -}}
{{- .Values.global.auth.metricsTokenSecret | default (include "lepton.name" (list . "metrics-token")) }}
{{- end }}

{{/* "true" or nothing. */}}
{{- define "lepton.tls" -}}
{{- if ne .Values.global.tls.mode "off" }}true{{ end }}
{{- end }}

{{- define "lepton.claim" -}}
{{- .Values.global.embedded.existingClaim | default (include "lepton.name" (list . "data")) }}
{{- end }}
