{{/*
The Deployment of a service, or of one of its pools. Takes a dict:
  root    the subchart's context
  name    what stands behind the release's name; the part's own by default
  values  the part's values, or the pool's
  image   the name that its image is built under; the part's own by default
  labels  further labels of its pods, which it finds them by (a map)
  env     further variables (a map)
  run     whether it needs a folder of its own, /run/lepton
*/}}
{{- define "lepton.deployment" -}}
{{- $root := .root -}}
{{- $global := $root.Values.global -}}
{{- $values := .values -}}
{{- $part := $root.Chart.Name -}}
{{- $facts := include "lepton.part" $root | fromYaml -}}
{{- $jobs := eq $facts.api "jobs" -}}
{{- $tls := include "lepton.tls" $root -}}
{{- $sqlite := and $global.embedded.enabled $facts.database -}}
{{- if and $sqlite (or (gt (int $values.replicas) 1) $values.autoscaling.enabled) -}}
{{- fail (printf "%s.replicas must be 1, without autoscaling, where global.embedded.enabled is true: SQLite is written by one process. values-embedded.yaml has values that fit." $part) -}}
{{- end -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "lepton.name" (list $root (.name | default $part)) }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "lepton.labels" (list $root $part) | nindent 4 }}
    {{- with .labels }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  {{- if not $values.autoscaling.enabled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  selector:
    matchLabels:
      {{- include "lepton.selectorLabels" (list $root $part) | nindent 6 }}
      {{- with .labels }}{{ toYaml . | nindent 6 }}{{ end }}
  {{- if $sqlite }}
  # Two processes must not write one SQLite file.
  strategy: {type: Recreate}
  {{- else }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {{- toYaml ($values.rollingUpdate | default (dict "maxSurge" 1 "maxUnavailable" 0)) | nindent 6 }}
  {{- end }}
  template:
    metadata:
      labels:
        {{- include "lepton.labels" (list $root $part) | nindent 8 }}
        {{- with .labels }}{{ toYaml . | nindent 8 }}{{ end }}
        {{- with $values.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
      annotations:
        kubectl.kubernetes.io/default-container: {{ $part }}
        # Read once, at the start. Tokens and certificates are read again when they change.
        checksum/object-store: {{ include "lepton.objectStore" $root | sha256sum }}
        {{- if $jobs }}
        checksum/job: {{ include "lepton.job" $root | sha256sum }}
        {{- end }}
        {{- with $values.podAnnotations }}{{ toYaml . | nindent 8 }}{{ end }}
    spec:
      serviceAccountName: {{ include "lepton.name" (list $root $part) }}
      automountServiceAccountToken: {{ ne $facts.api "none" }}
      enableServiceLinks: false
      {{- with include "lepton.pullSecrets" $root | trim }}{{ . | nindent 6 }}{{ end }}
      securityContext: {{- include "lepton.podSecurity" $root | nindent 8 }}
      {{- with include "lepton.placement" (dict "values" $values "gpu" $values.gpu) | trim }}{{ . | nindent 6 }}{{ end }}
      {{- with $global.topologyKeys }}
      topologySpreadConstraints:
        {{- range $key := . }}
        - maxSkew: 1
          topologyKey: {{ $key }}
          whenUnsatisfiable: ScheduleAnyway
          matchLabelKeys: [pod-template-hash]
          labelSelector:
            matchLabels:
              {{- include "lepton.selectorLabels" (list $root $part) | nindent 14 }}
              {{- with $.labels }}{{ toYaml . | nindent 14 }}{{ end }}
        {{- end }}
      {{- end }}
      # First the endpoints go, then calls in flight end, then the process.
      terminationGracePeriodSeconds: {{ add $global.server.preStopSeconds $global.server.drainSeconds 10 }}
      containers:
        - name: {{ $part }}
          image: {{ include "lepton.image" (list $root (.image | default $part) $values.image) }}
          imagePullPolicy: {{ $global.image.pullPolicy }}
          securityContext: {{- include "lepton.containerSecurity" $root | nindent 12 }}
          ports:
            - {name: grpc, containerPort: 7000, protocol: TCP}
            - {name: health, containerPort: 7001, protocol: TCP}
            - {name: metrics, containerPort: 7002, protocol: TCP}
          envFrom:
            - configMapRef: {name: {{ include "lepton.name" (list $root "object-store") }}}
          env:
            {{- include "lepton.serverEnv" $root | trim | nindent 12 }}
            {{- with include "lepton.objectStoreSecrets" $root | trim }}{{ . | nindent 12 }}{{ end }}
            {{- with include "lepton.env" .env | trim }}{{ . | nindent 12 }}{{ end }}
            {{- with include "lepton.env" $values.env | trim }}{{ . | nindent 12 }}{{ end }}
          {{- with include "lepton.resources" (list $values.resources $values.gpu) | trim }}{{ . | nindent 10 }}{{ end }}
          # A server that runs is alive; it gets calls once it can do its work.
          startupProbe: {grpc: {port: 7001}, periodSeconds: 1, timeoutSeconds: 2, failureThreshold: {{ $global.server.startSeconds }}}
          readinessProbe: {grpc: {port: 7001{{ with $facts.ready }}, service: {{ . }}{{ end }}}, periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 3}
          livenessProbe: {grpc: {port: 7001}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
          lifecycle:
            preStop: {sleep: {seconds: {{ $global.server.preStopSeconds }}}}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- if .run }}
            - {name: run, mountPath: /run/lepton}
            {{- end }}
            {{- if $tls }}
            - {name: tls, mountPath: /etc/lepton/tls, readOnly: true}
            {{- end }}
            {{- if $global.auth.enabled }}
            - {name: credentials, mountPath: /etc/lepton/credentials, readOnly: true}
            {{- if $facts.calls }}
            - {name: token, mountPath: /etc/lepton/token, readOnly: true}
            {{- end }}
            {{- end }}
            {{- if $jobs }}
            - {name: job, mountPath: /etc/lepton/job, readOnly: true}
            {{- end }}
            {{- if $global.embedded.enabled }}
            - {name: data, mountPath: /data}
            {{- end }}
      volumes:
        - {name: tmp, emptyDir: {}}
        {{- if .run }}
        - {name: run, emptyDir: {}}
        {{- end }}
        {{- if $tls }}
        - {name: tls, secret: {secretName: {{ include "lepton.name" (list $root (printf "%s-tls" $part)) }}, defaultMode: 0440}}
        {{- end }}
        {{- if $global.auth.enabled }}
        - {name: credentials, secret: {secretName: {{ include "lepton.credentialsSecret" $root }}, defaultMode: 0440}}
        {{- if $facts.calls }}
        - {name: token, secret: {secretName: {{ include "lepton.servicesTokenSecret" $root }}, defaultMode: 0440}}
        {{- end }}
        {{- end }}
        {{- if $jobs }}
        - {name: job, configMap: {name: {{ include "lepton.name" (list $root (printf "%s-job" $part)) }}}}
        {{- end }}
        {{- if $global.embedded.enabled }}
        - {name: data, persistentVolumeClaim: {claimName: {{ include "lepton.claim" $root }}}}
        {{- end }}
{{- end }}

{{/* What a service is told, as `env`. */}}
{{- define "lepton.serverEnv" -}}
{{- $root := . -}}
{{- $global := .Values.global -}}
{{- $part := .Chart.Name -}}
{{- $facts := include "lepton.part" . | fromYaml -}}
{{- $tls := include "lepton.tls" . -}}
- {name: LEPTON_LISTEN, value: "0.0.0.0:7000"}
- {name: LEPTON_HEALTH_LISTEN, value: "0.0.0.0:7001"}
- {name: LEPTON_METRICS_LISTEN, value: "0.0.0.0:7002"}
- {name: LEPTON_DRAIN_SECONDS, value: {{ $global.server.drainSeconds | quote }}}
- {name: LEPTON_MAX_CONNECTION_AGE_SECONDS, value: {{ $global.server.maxConnectionAgeSeconds | quote }}}
- {name: LEPTON_LOG_LEVEL, value: {{ $global.server.logLevel }}}
{{- with $global.server.otlpEndpoint }}
- {name: LEPTON_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- if $global.auth.enabled }}
- {name: LEPTON_TOKEN_FILE, value: /etc/lepton/credentials/tokens.json}
{{- if $facts.calls }}
- {name: LEPTON_TOKEN_PATH, value: /etc/lepton/token/token}
{{- end }}
{{- end }}
{{- if $tls }}
- {name: LEPTON_TLS_CERTIFICATE, value: /etc/lepton/tls/tls.crt}
- {name: LEPTON_TLS_KEY, value: /etc/lepton/tls/tls.key}
- {name: LEPTON_TLS_CLIENT_CA, value: /etc/lepton/tls/ca.crt}
{{- if $facts.calls }}
- {name: LEPTON_TLS_CA, value: /etc/lepton/tls/ca.crt}
{{- end }}
{{- end }}
{{- if not (and $global.auth.enabled $tls) }}
- {name: LEPTON_ALLOW_INSECURE, value: "true"}
{{- end }}
{{- if $facts.database }}
{{- if $global.embedded.enabled }}
- {name: LEPTON_DATABASE_URL, value: "sqlite:////data/{{ $part }}.db"}
{{- else }}
- name: LEPTON_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ $global.database.existingSecret }}, key: {{ $part }}}}
{{- end }}
{{- end }}
{{- range $facts.calls }}
- {name: LEPTON_{{ . | replace "-" "_" | upper }}_ADDRESS, value: {{ include "lepton.address" (list $root .) | quote }}}
{{- end }}
{{- if ne $facts.api "none" }}
- name: LEPTON_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end }}
{{- if eq $facts.api "jobs" }}
- {name: LEPTON_JOB_TEMPLATE, value: /etc/lepton/job/job.yaml}
- {name: LEPTON_JOB_OWNER, value: {{ include "lepton.name" (list . (printf "%s-job" $part)) }}}
- name: LEPTON_REPLICA
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- {name: LEPTON_MAX_RUNNING_JOBS, value: {{ .Values.maxRunningJobs | quote }}}
{{- end }}
{{- end }}
