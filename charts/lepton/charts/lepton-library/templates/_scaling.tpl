{{/*
How many pods there are: a PodDisruptionBudget where there is more than one, an autoscaler where there is to be. Takes a
dict: root, name, values (the part's, or the pool's), labels (of the pods, a map).
*/}}
{{- define "lepton.scaling" -}}
{{- $root := .root -}}
{{- $part := $root.Chart.Name -}}
{{- $name := include "lepton.name" (list $root (.name | default $part)) -}}
{{- $scaling := .values.autoscaling -}}
{{- $least := $scaling.enabled | ternary $scaling.minReplicas .values.replicas | int -}}
{{- if gt $least 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "lepton.labels" (list $root $part) | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "lepton.selectorLabels" (list $root $part) | nindent 6 }}
      {{- with .labels }}{{ toYaml . | nindent 6 }}{{ end }}
{{- end }}
{{- if $scaling.enabled }}
{{- $keda := $scaling.keda | default dict }}
---
{{- if $keda.serverAddress }}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "lepton.labels" (list $root $part) | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicaCount: {{ $scaling.minReplicas }}
  maxReplicaCount: {{ $scaling.maxReplicas }}
  triggers:
    {{- with $scaling.cpuPercent }}
    - type: cpu
      metricType: Utilization
      metadata: {value: {{ . | quote }}}
    {{- end }}
    {{- with $scaling.queueRequests }}
    # Requests that wait, for each pod.
    - type: prometheus
      metricType: AverageValue
      metadata:
        serverAddress: {{ $keda.serverAddress | quote }}
        query: sum(lepton_inference_queue_requests{namespace={{ $root.Release.Namespace | quote }}, pod=~"{{ $name }}-.*"})
        threshold: {{ . | quote }}
    {{- end }}
{{- else }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "lepton.labels" (list $root $part) | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicas: {{ $scaling.minReplicas }}
  maxReplicas: {{ $scaling.maxReplicas }}
  metrics:
    {{- with $scaling.cpuPercent }}
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ . }}}}
    {{- end }}
    {{- with $scaling.queueRequests }}
    # Requests that wait, for each pod; needs a metrics adapter.
    - type: Pods
      pods:
        metric: {name: lepton_inference_queue_requests}
        target: {type: AverageValue, averageValue: {{ . | quote }}}
    {{- end }}
  {{- with $scaling.behavior }}
  behavior: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
