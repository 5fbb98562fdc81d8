{{/*
The two Services of a part, or of a pool: one with an address of its own for users and Prometheus, one without, whose name
stands for every pod, so that gRPC clients go round. Takes a dict: root, name, labels (of the pods, a map), metrics.
*/}}
{{- define "lepton.services" -}}
{{- $root := .root -}}
{{- $part := $root.Chart.Name -}}
{{- $name := include "lepton.name" (list $root (.name | default $part)) -}}
{{- $labels := .labels -}}
{{- $metrics := .metrics -}}
{{- range $headless := list false true }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}{{ if $headless }}-headless{{ end }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "lepton.labels" (list $root $part) | nindent 4 }}
    {{- with $labels }}{{ toYaml . | nindent 4 }}{{ end }}
    {{- if and $metrics (not $headless) }}
    lepton.dev/metrics: "true"
    {{- end }}
spec:
  {{- if $headless }}
  clusterIP: None
  {{- end }}
  selector:
    {{- include "lepton.selectorLabels" (list $root $part) | nindent 4 }}
    {{- with $labels }}{{ toYaml . | nindent 4 }}{{ end }}
  ports:
    - {name: grpc, port: 7000, targetPort: grpc, protocol: TCP}
    {{- if and $metrics (not $headless) }}
    - {name: metrics, port: 7002, targetPort: metrics, protocol: TCP}
    {{- end }}
{{- end }}
{{- end }}
