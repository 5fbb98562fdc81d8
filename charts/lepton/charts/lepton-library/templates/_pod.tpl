{{/* Pod Security "restricted", with the user that all images are built for. */}}
{{- define "lepton.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "lepton.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "lepton.pullSecrets" -}}
{{- with .Values.global.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What every process is told about the object store, but for its secrets. */}}
{{- define "lepton.objectStore" -}}
{{- with .Values.global }}
LEPTON_OBJECT_STORE_URL: {{ if .embedded.enabled }}file:///data/objects{{ else }}{{ .objectStore.url }}{{ end }}
{{- if not .embedded.enabled }}
AWS_REGION: {{ .objectStore.region | quote }}
{{- with .objectStore.endpointUrl }}
AWS_ENDPOINT_URL: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The object store's secrets, as `env`. */}}
{{- define "lepton.objectStoreSecrets" -}}
{{- if and (not .Values.global.embedded.enabled) .Values.global.objectStore.existingSecret }}
{{- range $name := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $.Values.global.objectStore.existingSecret }}, key: {{ $name }}}}
{{- end }}
{{- end }}
{{- end }}

{{/* Further variables, from a map. */}}
{{- define "lepton.env" -}}
{{- range $name, $value := . }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}

{{/* What a container takes, its GPUs among it. List: resources, GPU block. */}}
{{- define "lepton.resources" -}}
{{- $resources := deepCopy (index . 0) }}
{{- with index . 1 }}
{{- if .resourceClaimTemplate }}
{{- $_ := set $resources "claims" (list (dict "name" "gpu")) }}
{{- else if .count }}
{{- $_ := set $resources "limits" (merge (dict .resourceName (int .count)) ($resources.limits | default dict)) }}
{{- end }}
{{- end }}
{{- with $resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where a pod runs. Takes a dict: root, values (the part's, the pool's or the worker's), gpu. */}}
{{- define "lepton.placement" -}}
{{- $gpu := .gpu | default dict }}
{{- $wanted := or $gpu.count $gpu.resourceClaimTemplate }}
{{- $selector := deepCopy (.values.nodeSelector | default dict) }}
{{- $tolerations := .values.tolerations | default list }}
{{- if $wanted }}
{{- $selector = merge $selector ($gpu.nodeSelector | default dict) }}
{{- $tolerations = concat $tolerations ($gpu.tolerations | default list) }}
{{- end }}
{{- $tolerations = concat $tolerations (.tolerations | default list) }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $selector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $wanted }}
{{- with $gpu.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $gpu.resourceClaimTemplate }}
resourceClaims:
  - {name: gpu, resourceClaimTemplateName: {{ . }}}
{{- end }}
{{- end }}
{{- end }}
