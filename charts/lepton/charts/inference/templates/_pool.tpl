{{/* What a pool is: its own values over those of all pools. List: context, pool. */}}
{{- define "inference.pool" -}}
{{- $values := (index . 0).Values }}
{{- mergeOverwrite (deepCopy $values.pool) (index $values.pools (index . 1) | default dict) | toYaml }}
{{- end }}

{{/* Where its models run. Takes the pool's values. */}}
{{- define "inference.device" -}}
{{- $gpu := or .gpu.count .gpu.resourceClaimTemplate }}
{{- .device | default (empty $gpu | ternary "cpu" "cuda") }}
{{- end }}
