{{/* Rules that more than one policy has, each an item of `egress`. Take a chart's context. */}}
{{- define "lepton.egressDns" -}}
# Names.
- {{ with .Values.global.networkPolicy.dns.to }}to: {{- toYaml . | nindent 4 }}
  {{ end }}ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}

{{- define "lepton.egressTo" -}}
- {{ with .to }}to: {{- toYaml . | nindent 4 }}
  {{ end }}ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{/* The object store, where it is not a folder. */}}
{{- define "lepton.egressObjectStore" -}}
{{- if not .Values.global.embedded.enabled }}
# The object store.
{{ include "lepton.egressTo" .Values.global.networkPolicy.objectStore }}
{{- end }}
{{- end }}

{{/* Pods of a part, as a peer. List: context, part. */}}
{{- define "lepton.peer" -}}
- podSelector:
    matchLabels:
      {{- include "lepton.selectorLabels" . | nindent 6 }}
{{- end }}

{{/* Who may talk to a service, and to whom it talks. Takes a subchart's context. */}}
{{- define "lepton.networkPolicy" -}}
{{- $root := . -}}
{{- $policy := .Values.global.networkPolicy -}}
{{- $part := .Chart.Name -}}
{{- $facts := include "lepton.part" . | fromYaml -}}
{{- $parts := include "lepton.parts" . | fromYaml -}}
{{- if $policy.enabled }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "lepton.name" (list . $part) }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "lepton.labels" (list . $part) | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "lepton.selectorLabels" (list . $part) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    # Health, which tells nothing else: for the kubelet.
    - ports: [{port: 7001, protocol: TCP}]
    # Those who call it: services, and clients.
    - from:
        {{- range $caller, $theirs := $parts }}
        {{- if has $part $theirs.calls }}
        {{- include "lepton.peer" (list $root $caller) | nindent 8 }}
        {{- end }}
        {{- end }}
        {{- toYaml $policy.clients | nindent 8 }}
      ports: [{port: 7000, protocol: TCP}]
    {{- with $policy.monitoring }}
    # Prometheus.
    - from: {{- toYaml . | nindent 8 }}
      ports: [{port: 7002, protocol: TCP}]
    {{- end }}
  egress:
    {{- include "lepton.egressDns" . | nindent 4 }}
    {{- with $facts.calls }}
    # The services that it calls.
    - to:
        {{- range . }}
        {{- include "lepton.peer" (list $root .) | nindent 8 }}
        {{- end }}
      ports: [{port: 7000, protocol: TCP}]
    {{- end }}
    {{- if ne $facts.api "none" }}
    # The Kubernetes API.
    {{- include "lepton.egressTo" $policy.apiServer | nindent 4 }}
    {{- end }}
    {{- if and $facts.database (not .Values.global.embedded.enabled) }}
    # The database.
    {{- include "lepton.egressTo" $policy.database | nindent 4 }}
    {{- end }}
    {{- with include "lepton.egressObjectStore" . | trim }}{{ . | nindent 4 }}{{ end }}
    {{- if .Values.global.server.otlpEndpoint }}
    # The collector of traces.
    {{- include "lepton.egressTo" $policy.telemetry | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}

{{/*
Workers: nobody talks to them, and they talk to the object store alone; those of a training to each other as well. A policy
cannot say "of the same training". Takes a subchart's context.
*/}}
{{- define "lepton.workerNetworkPolicy" -}}
{{- $facts := include "lepton.part" . | fromYaml -}}
{{- if .Values.global.networkPolicy.enabled }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "lepton.name" (list . (printf "%s-workers" .Chart.Name)) }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "lepton.labels" (list . .Chart.Name) | nindent 4 }}
spec:
  podSelector:
    matchExpressions: [{key: {{ $facts.jobLabel }}, operator: Exists}]
  policyTypes: [Ingress, Egress]
  {{- if eq .Chart.Name "trainer" }}
  ingress:
    - from:
        - podSelector: {matchExpressions: [{key: {{ $facts.jobLabel }}, operator: Exists}]}
      ports: [{port: 7100, protocol: TCP}]
  {{- end }}
  egress:
    {{- include "lepton.egressDns" . | nindent 4 }}
    {{- with include "lepton.egressObjectStore" . | trim }}{{ . | nindent 4 }}{{ end }}
    {{- if eq .Chart.Name "trainer" }}
    # Those that train together.
    - to:
        - podSelector: {matchExpressions: [{key: {{ $facts.jobLabel }}, operator: Exists}]}
      ports: [{port: 7100, protocol: TCP}]
    {{- end }}
{{- end }}
{{- end }}
