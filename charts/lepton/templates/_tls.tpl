{{/* The parts that have a certificate, with all names they are called by: JSON, part to names. The client has its own. */}}
{{- define "lepton.certificates" -}}
{{- $certificates := dict "client" (list "lepton-client") }}
{{- range $part, $_ := include "lepton.parts" . | fromYaml }}
{{- $values := index $.Values $part }}
{{- if $values.enabled }}
{{- $services := list (include "lepton.name" (list $ $part)) }}
{{- range $pool, $_ := $values.pools }}
{{- $services = append $services (include "lepton.name" (list $ (printf "inference-%s" $pool))) }}
{{- end }}
{{- $names := list }}
{{- range $service := $services }}
{{- range $host := list $service (printf "%s-headless" $service) }}
{{- range $end := list "" (printf ".%s" $.Release.Namespace) (printf ".%s.svc" $.Release.Namespace) (printf ".%s.svc.cluster.local" $.Release.Namespace) }}
{{- $names = append $names (printf "%s%s" $host $end) }}
{{- end }}
{{- end }}
{{- end }}
{{- $_ := set $certificates $part (append $names "localhost") }}
{{- end }}
{{- end }}
{{- $certificates | toJson }}
{{- end }}
