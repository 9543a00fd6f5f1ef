{{- define "reconciler.selector" -}}
app.kubernetes.io/name: {{ .Values.nameOverride }}
app.kubernetes.io/component: operator
{{- end }}

{{- /* Of everything that belongs to the release. */ -}}
{{- define "reconciler.ours" -}}
app.kubernetes.io/part-of: reconciler
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "reconciler.labels" -}}
{{ include "reconciler.selector" . }}
{{ include "reconciler.ours" . }}
{{- end }}

{{- define "reconciler.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* The objects of a file below files/, as objects of this release. root: the chart's scope; file; annotations. */ -}}
{{- define "reconciler.objects" -}}
{{- $root := .root }}
{{- $annotations := .annotations }}
{{- range $text := splitList "\n---\n" ($root.Files.Get .file) }}
{{- $object := fromYaml $text }}
{{- $labels := merge (default dict $object.metadata.labels) (include "reconciler.ours" $root | fromYaml) }}
{{- $_ := set $object.metadata "labels" $labels }}
{{- with $annotations }}
{{- $_ := set $object.metadata "annotations" (merge (default dict $object.metadata.annotations) .) }}
{{- end }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}

{{- /* The rules of a role of a file below files/. root: the chart's scope; file; kind: Role or ClusterRole; absent: the file's first object. */ -}}
{{- define "reconciler.rules" -}}
{{- $objects := list }}
{{- range splitList "\n---\n" (.root.Files.Get .file) }}
{{- $objects = append $objects (fromYaml .) }}
{{- end }}
{{- $role := first $objects }}
{{- $kind := .kind }}
{{- range $objects }}
{{- if eq .kind (default "" $kind) }}
{{- $role = . }}
{{- end }}
{{- end }}
{{- toYaml $role.rules }}
{{- end }}

{{- /* The pod of a Job. A remote's volume is under the same path in it as in the operator. */ -}}
{{- define "reconciler.workerTemplate" -}}
{{- $pod := .Files.Get "files/worker-template.yaml" | fromYaml }}
{{- $spec := $pod.spec }}
{{- $worker := first $spec.containers }}
{{- $_ := set $spec "serviceAccountName" (printf "%s-worker" .Values.nameOverride) }}
{{- $_ := set $pod.metadata.labels "app.kubernetes.io/name" .Values.nameOverride }}
{{- $_ := set $spec "volumes" (concat $spec.volumes .Values.volumes) }}
{{- $_ := set $worker "volumeMounts" (concat $worker.volumeMounts .Values.volumeMounts) }}
{{- with .Values.worker.resources }}{{ $_ := set $worker "resources" . }}{{ end }}
{{- with .Values.env }}{{ $_ := set $worker "env" . }}{{ end }}
{{- with .Values.envFrom }}{{ $_ := set $worker "envFrom" . }}{{ end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $.Values.worker $field }}{{ $_ := set $spec $field . }}{{ end }}
{{- end }}
{{- toYaml $pod }}
{{- end }}

{{- /* Named by what it says, so that the operator starts anew with another template. */ -}}
{{- define "reconciler.workerConfig" -}}
{{ .Values.nameOverride }}-worker-{{ include "reconciler.workerTemplate" . | sha256sum | trunc 10 }}
{{- end }}

{{- define "reconciler.webhookSecret" -}}
{{ .Values.webhook.secretName | default (printf "%s-webhook" .Values.nameOverride) }}
{{- end }}
