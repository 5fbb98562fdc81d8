{{/*
The ServiceAccount of a part and all that it may do. The Lease is part of the release, so nobody needs the right to make one
and none is left behind. Takes a subchart's context.
*/}}
{{- define "lepton.rbac" -}}
{{- $part := .Chart.Name -}}
{{- $facts := include "lepton.part" . | fromYaml -}}
{{- $name := include "lepton.name" (list . $part) -}}
{{- $lease := printf "lepton-%s" $part -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "lepton.labels" (list . $part) | nindent 4 }}
  {{- with .Values.serviceAccountAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
# Pods that use the API ask for their token themselves.
automountServiceAccountToken: false
{{- if ne $facts.api "none" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "lepton.labels" (list . $part) | nindent 4 }}
rules:
  {{- if eq $facts.api "jobs" }}
  - apiGroups: [batch]
    resources: [jobs]
    verbs: [create, delete, get, list, patch, watch]
  # One for the pods of a Job that work together.
  - apiGroups: [""]
    resources: [services]
    verbs: [create]
  # A pod on a node that does not answer is taken off the list, so that another can take its place.
  - apiGroups: [""]
    resources: [pods]
    verbs: [delete, get, list, watch]
  - apiGroups: [""]
    resources: [pods/status]
    verbs: [patch]
  - apiGroups: [""]
    resources: [pods/log]
    verbs: [get]
  # Jobs belong to their template: they go when the release goes.
  - apiGroups: [""]
    resources: [configmaps]
    resourceNames: [{{ $name }}-job]
    verbs: [get]
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    resourceNames: [{{ $lease }}]
    verbs: [get, patch, update]
  {{- else }}
  - apiGroups: [""]
    resources: [pods]
    verbs: [list, watch]
  {{- end }}
  - apiGroups: [""]
    resources: [events]
    verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "lepton.labels" (list . $part) | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ $name }}}
subjects: [{kind: ServiceAccount, name: {{ $name }}, namespace: {{ .Release.Namespace }}}]
{{- if eq $facts.api "jobs" }}
---
# Whoever holds it follows the Jobs.
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: {{ $lease }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "lepton.labels" (list . $part) | nindent 4 }}
{{- end }}
{{- end }}
{{- end }}
