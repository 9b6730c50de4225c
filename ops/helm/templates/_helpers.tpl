{{- define "pipeline.name" -}}
{{- $name := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) }}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "pipeline.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "pipeline.labels" -}}
{{ include "pipeline.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "pipeline.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end -}}
{{- end }}

{{/* What pods of every component have: no rights, no token, nothing of another service in their environment (a Service of
this release would be PIPELINE_…_SERVICE_HOST, which the command line takes for a misspelt setting). */}}
{{- define "pipeline.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
serviceAccountName: {{ .root.Values.serviceAccountName }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
terminationGracePeriodSeconds: 30
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .spec }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .affinity }}
affinity: {{- toYaml .affinity | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "pipeline.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "pipeline.selector" . | nindent 8 }}
{{- end }}

{{- define "pipeline.container" -}}
image: {{ include "pipeline.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* How Kafka is spoken to as one of the roles. */}}
{{- define "pipeline.kafka.env" -}}
{{- $kafka := .root.Values.kafka }}
- {name: PIPELINE_BROKER, value: {{ required "kafka.bootstrapServers is missing: give kafka-bootstrap:9092" $kafka.bootstrapServers | quote }}}
- {name: PIPELINE_APP_ID, value: {{ .root.Values.appId | quote }}}
- {name: PIPELINE_KAFKA_SECURITY_PROTOCOL, value: {{ $kafka.securityProtocol }}}
{{- if hasPrefix "SASL" $kafka.securityProtocol }}
- {name: PIPELINE_KAFKA_SASL_MECHANISM, value: {{ $kafka.saslMechanism }}}
- {name: PIPELINE_KAFKA_USERNAME, value: {{ include "pipeline.kafka.username" . | quote }}}
- {name: PIPELINE_KAFKA_PASSWORD_FILE, value: /run/secrets/pipeline/kafka/{{ $kafka.keys.password }}}
{{- else if include "pipeline.kafka.secret" . }}
- {name: PIPELINE_KAFKA_CERTIFICATE_FILE, value: /run/secrets/pipeline/kafka/{{ $kafka.keys.certificate }}}
- {name: PIPELINE_KAFKA_KEY_FILE, value: /run/secrets/pipeline/kafka/{{ $kafka.keys.key }}}
{{- end }}
{{- if $kafka.ca.secret }}
- {name: PIPELINE_KAFKA_CA_FILE, value: /run/secrets/pipeline/ca/{{ $kafka.ca.key }}}
{{- end }}
{{- end }}

{{- define "pipeline.kafka.username" -}}
{{- $user := get .root.Values.kafka.users .role }}
{{- if $user.username }}{{ $user.username }}
{{- else if .root.Values.strimzi.users }}{{ .root.Release.Name }}-{{ .role }}
{{- else }}{{ fail (printf "kafka.users.%s.username is missing: kafka.securityProtocol has SASL" .role) }}{{ end -}}
{{- end }}

{{- define "pipeline.kafka.secret" -}}
{{- $user := get .root.Values.kafka.users .role }}
{{- if $user.secret }}{{ $user.secret }}
{{- else if eq .root.Values.kafka.securityProtocol "PLAINTEXT" }}
{{- else if .root.Values.strimzi.users }}{{ .root.Release.Name }}-{{ .role }}
{{- else if hasPrefix "SASL" .root.Values.kafka.securityProtocol }}{{ fail (printf "kafka.users.%s.secret is missing: kafka.securityProtocol has SASL" .role) }}{{ end -}}
{{- end }}

{{/* Secrets, each in a folder of its own below /run/secrets/pipeline, by the folder's name. */}}
{{- define "pipeline.secrets" -}}
{{- $found := deepCopy .secrets }}
{{- with include "pipeline.kafka.secret" . }}{{ $_ := set $found "kafka" . }}{{ end }}
{{- with .root.Values.kafka.ca.secret }}{{ $_ := set $found "ca" . }}{{ end }}
{{- toYaml $found }}
{{- end }}

{{- define "pipeline.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- range $folder, $secret := include "pipeline.secrets" . | fromYaml }}
{{- if $secret }}
- {name: {{ $folder }}, mountPath: /run/secrets/pipeline/{{ $folder }}, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- define "pipeline.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- range $folder, $secret := include "pipeline.secrets" . | fromYaml }}
{{- if $secret }}
- name: {{ $folder }}
  secret: {secretName: {{ $secret }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- end }}

{{/* What every process has; HOME and what Numba compiles lie where a read-only root lets them. */}}
{{- define "pipeline.env" -}}
- {name: HOME, value: /tmp}
- {name: NUMBA_CACHE_DIR, value: /tmp/numba}
- {name: PIPELINE_LOG_FORMAT, value: {{ .root.Values.logFormat }}}
{{- include "pipeline.kafka.env" . | nindent 0 }}
{{- range $name, $value := .env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "pipeline.tls.env" -}}
{{- if .secret }}
- {name: {{ .prefix }}TLS_CERTIFICATE, value: /run/secrets/pipeline/tls/tls.crt}
- {name: {{ .prefix }}TLS_KEY, value: /run/secrets/pipeline/tls/tls.key}
{{- end }}
{{- end }}

{{- define "pipeline.topics.pod" }}
{{- include "pipeline.pod" . }}
restartPolicy: OnFailure
containers:
  - name: topics
    {{- include "pipeline.container" . | nindent 4 }}
    args: [topics, create]
    env:
      {{- include "pipeline.env" . | nindent 6 }}
      - {name: PIPELINE_ACTOR, value: {{ printf "helm/%s" .root.Release.Name | quote }}}
      {{- with .root.Values.topics }}
      - {name: PIPELINE_PARTITIONS, value: {{ .partitions | int | quote }}}
      - {name: PIPELINE_REPLICATION, value: {{ .replication | int | quote }}}
      - {name: PIPELINE_MIN_INSYNC_REPLICAS, value: {{ .minInsyncReplicas | int | quote }}}
      {{- end }}
    resources:
      requests: {cpu: 100m, memory: 256Mi}
      limits: {memory: 512Mi}
    volumeMounts:
      {{- include "pipeline.mounts" . | nindent 6 }}
volumes:
  {{- include "pipeline.volumes" . | nindent 2 }}
{{- end }}

{{- define "pipeline.egress" -}}
- ports: # names
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
- ports:
    {{- range .Values.networkPolicy.kafka.ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .Values.networkPolicy.kafka.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "pipeline.pods" -}}
podSelector:
  matchLabels: {{- include "pipeline.selector" . | nindent 4 }}
{{- end }}
