{{/* What every Job of a part is made from: the service fills in name, workers, environment. Takes a subchart's context. */}}
{{- define "lepton.job" -}}
{{- $part := .Chart.Name -}}
{{- $worker := .Values.worker -}}
{{- $gpu := $worker.gpu | default dict -}}
{{- $image := eq $part "data-ingest" | ternary $part (printf "%s-worker" $part) -}}
{{- if or $gpu.count $gpu.resourceClaimTemplate }}{{ $image = printf "%s%s" $image $gpu.imageSuffix }}{{ end -}}
apiVersion: batch/v1
kind: Job
metadata:
  labels:
    {{- include "lepton.jobLabels" . | nindent 4 }}
    {{- with $worker.queue }}
    kueue.x-k8s.io/queue-name: {{ . }}
    {{- end }}
spec:
  backoffLimit: {{ $worker.backoffLimit }}
  ttlSecondsAfterFinished: {{ $worker.ttlSecondsAfterFinished }}
  template:
    metadata:
      labels:
        {{- include "lepton.jobLabels" . | nindent 8 }}
        {{- with $worker.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- with $worker.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      restartPolicy: Never
      {{- with $worker.serviceAccountName }}
      serviceAccountName: {{ . }}
      {{- end }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      # Time to keep the last step.
      terminationGracePeriodSeconds: 60
      {{- with include "lepton.pullSecrets" . | trim }}{{ . | nindent 6 }}{{ end }}
      securityContext: {{- include "lepton.podSecurity" . | nindent 8 }}
      {{- with include "lepton.placement" (dict "values" $worker "gpu" $gpu "tolerations" (include "lepton.lostNode" . | fromYamlArray)) | trim }}{{ . | nindent 6 }}{{ end }}
      containers:
        - name: worker
          image: {{ include "lepton.image" (list . $image $worker.image) }}
          imagePullPolicy: {{ .Values.global.image.pullPolicy }}
          {{- if eq $part "data-ingest" }}
          command: [/venv/bin/python, -m, lepton_data_ingest.worker]
          {{- end }}
          securityContext: {{- include "lepton.containerSecurity" . | nindent 12 }}
          {{- if eq $part "trainer" }}
          ports: [{name: peers, containerPort: 7100, protocol: TCP}]
          {{- end }}
          envFrom:
            - configMapRef: {name: {{ include "lepton.name" (list . "object-store") }}}
          {{- with printf "%s%s" (include "lepton.objectStoreSecrets" .) (include "lepton.env" $worker.env) | trim }}
          env: {{- . | nindent 12 }}
          {{- end }}
          {{- with include "lepton.resources" (list $worker.resources $gpu) | trim }}{{ . | nindent 10 }}{{ end }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- if .Values.global.embedded.enabled }}
            - {name: data, mountPath: /data}
            {{- end }}
      volumes:
        - name: tmp
          emptyDir: {{ with $worker.scratchSize }}{sizeLimit: {{ . }}}{{ else }}{}{{ end }}
        {{- if .Values.global.embedded.enabled }}
        # The volume is on one node, and so are those who use it.
        - {name: data, persistentVolumeClaim: {claimName: {{ include "lepton.claim" . }}}}
        {{- end }}
{{- end }}

{{- define "lepton.jobLabels" -}}
app.kubernetes.io/name: lepton
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Chart.Name }}-worker
app.kubernetes.io/part-of: lepton
app.kubernetes.io/managed-by: lepton
{{- end }}

{{/* A lost node's workers are replaced after a moment: every attempt has files of its own. */}}
{{- define "lepton.lostNode" -}}
- {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
- {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
{{- end }}

{{- define "lepton.jobTemplate" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "lepton.name" (list . (printf "%s-job" .Chart.Name)) }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "lepton.labels" (list . .Chart.Name) | nindent 4 }}
data:
  job.yaml: |
    {{- include "lepton.job" . | nindent 4 }}
{{- end }}
