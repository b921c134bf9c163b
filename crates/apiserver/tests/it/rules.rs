//! What single kinds do: allocation, generated fields, immutable fields.

use expect_test::expect;

use crate::check;

#[tokio::test]
async fn services_get_addresses_and_ports_and_share_none() {
    check(
        r#"
        POST /api/v1/namespaces/default/services {"metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}} -> .spec.clusterIP .spec.clusterIPs .spec.type .spec.ports ip=.spec.clusterIP
        POST /api/v1/namespaces/default/services {"metadata":{"name":"b"},"spec":{"clusterIP":"${ip}","ports":[{"port":80}]}}
        POST /api/v1/namespaces/default/services {"metadata":{"name":"b"},"spec":{"clusterIP":"192.168.0.1","ports":[{"port":80}]}}
        POST /api/v1/namespaces/default/services {"metadata":{"name":"b"},"spec":{"clusterIP":"x","ports":[{"port":80}]}}
        POST /api/v1/namespaces/default/services {"metadata":{"name":"h"},"spec":{"clusterIP":"None","ports":[{"port":80}]}} -> .spec.clusterIP .spec.clusterIPs
        POST /api/v1/namespaces/default/services {"metadata":{"name":"n"},"spec":{"type":"NodePort","ports":[{"name":"u","port":53,"protocol":"UDP","nodePort":30053},{"name":"t","port":53,"nodePort":30053},{"name":"w","port":80}]}} -> .spec.ports[].nodePort
        POST /api/v1/namespaces/default/services {"metadata":{"name":"m"},"spec":{"type":"NodePort","ports":[{"port":53,"nodePort":30053}]}}
        POST /api/v1/namespaces/default/services {"metadata":{"name":"m"},"spec":{"type":"NodePort","ports":[{"port":53,"nodePort":80}]}}
        POST /api/v1/namespaces/default/services {"metadata":{"name":"m"},"spec":{"ports":[{"port":53,"nodePort":30099}]}}
        POST /api/v1/namespaces/default/services {"metadata":{"name":"m"},"spec":{"ports":[{"port":53},{"port":54}]}}
        POST /api/v1/namespaces/default/services {"metadata":{"name":"m"},"spec":{}}
        POST /api/v1/namespaces/default/services {"metadata":{"name":"1m"},"spec":{"ports":[{"port":53}]}}
        POST /api/v1/namespaces/default/services {"metadata":{"name":"e"},"spec":{"type":"ExternalName","externalName":"example.com"}} -> .spec.clusterIP
        PATCH:merge /api/v1/namespaces/default/services/a {"spec":{"clusterIP":"10.96.9.9"}}
        PATCH:merge /api/v1/namespaces/default/services/a {"spec":{"type":"NodePort"}} -> .spec.ports[].nodePort
        PATCH:merge /api/v1/namespaces/default/services/a {"spec":{"type":"ClusterIP"}} -> .spec.ports[].nodePort .spec.clusterIP
        DELETE /api/v1/namespaces/default/services/n
        POST /api/v1/namespaces/default/services {"metadata":{"name":"m"},"spec":{"type":"NodePort","ports":[{"port":53,"nodePort":30053}]}} -> .spec.ports[].nodePort
        POST /api/v1/namespaces/default/services {"metadata":{"name":"l"},"spec":{"type":"LoadBalancer","externalTrafficPolicy":"Local","ports":[{"port":80}]}} -> .spec.healthCheckNodePort .spec.ports[].nodePort
        "#,
        expect![[r#"
            201 .spec.clusterIP="10.96.0.11" .spec.clusterIPs=["10.96.0.11"] .spec.type="ClusterIP" .spec.ports=[{"port":80,"protocol":"TCP","targetPort":80}]
            422 Invalid: Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.11"]: failed to allocate IP 10.96.0.11: provided IP is already allocated [FieldValueInvalid@spec.clusterIPs]
            422 Invalid: Service "b" is invalid: spec.clusterIPs: Invalid value: ["192.168.0.1"]: failed to allocate IP 192.168.0.1: the provided IP (192.168.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/12 [FieldValueInvalid@spec.clusterIPs]
            422 Invalid: Service "b" is invalid: spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff) [FieldValueInvalid@spec.clusterIPs[0]]
            201 .spec.clusterIP="None" .spec.clusterIPs=["None"]
            201 .spec.ports[].nodePort=[30053,30053,30000]
            422 Invalid: Service "m" is invalid: spec.ports[0].nodePort: Invalid value: 30053: provided port is already allocated [FieldValueInvalid@spec.ports[0].nodePort]
            422 Invalid: Service "m" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767 [FieldValueInvalid@spec.ports[0].nodePort]
            422 Invalid: Service "m" is invalid: spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP' [FieldValueForbidden@spec.ports[0].nodePort]
            422 Invalid: Service "m" is invalid: [spec.ports[0].name: Required value, spec.ports[1].name: Required value] [FieldValueRequired@spec.ports[0].name, FieldValueRequired@spec.ports[1].name]
            422 Invalid: Service "m" is invalid: spec.ports: Required value [FieldValueRequired@spec.ports]
            422 Invalid: Service "1m" is invalid: metadata.name: Invalid value: "1m": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?') [FieldValueInvalid@metadata.name]
            201 .spec.clusterIP=null
            422 Invalid: Service "a" is invalid: spec.clusterIPs[0]: Invalid value: ["10.96.9.9"]: may not change once set [FieldValueInvalid@spec.clusterIPs[0]]
            200 .spec.ports[].nodePort=[30001]
            200 .spec.ports[].nodePort=[null] .spec.clusterIP="10.96.0.11"
            200
            201 .spec.ports[].nodePort=[30053]
            201 .spec.healthCheckNodePort=30055 .spec.ports[].nodePort=[30054]
        "#]],
    )
    .await;
}

#[tokio::test]
async fn jobs_select_by_their_own_uid() {
    check(
        r#"
        POST /apis/batch/v1/namespaces/default/jobs {"metadata":{"name":"j"},"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i"}],"restartPolicy":"Never"}}}} -> uid=.metadata.uid sel=.spec.selector.matchLabels.batch~kubernetes~io/controller-uid .spec.template.metadata.labels.job-name .spec.completions
        POST /apis/batch/v1/namespaces/default/jobs {"metadata":{"name":"k"},"spec":{"selector":{"matchLabels":{"controller-uid":"old"}},"template":{"metadata":{"labels":{"controller-uid":"old"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}} -> .code
        POST /apis/batch/v1/namespaces/default/jobs {"metadata":{"name":"m"},"spec":{"manualSelector":true,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}} -> .spec.selector
        PATCH:merge /apis/batch/v1/namespaces/default/jobs/j {"spec":{"parallelism":3}} -> .spec.parallelism .metadata.generation
        PATCH:merge /apis/batch/v1/namespaces/default/jobs/m {"spec":{"selector":{"matchLabels":{"a":"c"}}}}
        "#,
        expect![[r#"
            201 .spec.template.metadata.labels.job-name="j" .spec.completions=1
            422 Invalid: Job.batch "k" is invalid: [spec.template.metadata.labels[controller-uid]: Invalid value: "old": must be '8747d9fb-9bc4-4a54-ad56-26d2df655d1a', spec.selector: Invalid value: {"matchLabels":{"controller-uid":"old"}}: `selector` not auto-generated] [FieldValueInvalid@spec.template.metadata.labels[controller-uid], FieldValueInvalid@spec.selector] .code=422
            201 .spec.selector={"matchLabels":{"a":"b"}}
            200 .spec.parallelism=3 .metadata.generation=2
            422 Invalid: Job.batch "m" is invalid: spec.selector: Invalid value: {"matchLabels":{"a":"c"}}: field is immutable [FieldValueInvalid@spec.selector]
        "#]],
    )
    .await;
}

#[tokio::test]
async fn selectors_of_workloads_match_and_stay() {
    check(
        r#"
        POST /apis/apps/v1/namespaces/default/deployments {"metadata":{"name":"d"},"spec":{"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}
        POST /apis/apps/v1/namespaces/default/deployments {"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"x"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}
        POST /apis/apps/v1/namespaces/default/deployments {"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}},"status":{"replicas":9}} -> .spec.replicas .metadata.generation .status
        PATCH:strategic /apis/apps/v1/namespaces/default/deployments/d {"spec":{"selector":{"matchLabels":{"z":"z"}}}} -> .details.kind
        PATCH:strategic /apis/apps/v1/namespaces/default/deployments/d {"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i2"},{"name":"e","image":"j"}]}}}} -> .spec.template.spec.containers[].image .metadata.generation
        PATCH:merge /apis/apps/v1/namespaces/default/deployments/d {"metadata":{"labels":{"l":"1"}}} -> .metadata.generation
        POST /apis/apps/v1/namespaces/default/statefulsets {"metadata":{"name":"s"},"spec":{"serviceName":"s","selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}} -> .spec.replicas
        PATCH:merge /apis/apps/v1/namespaces/default/statefulsets/s {"spec":{"replicas":4}} -> .spec.replicas
        PATCH:merge /apis/apps/v1/namespaces/default/statefulsets/s {"spec":{"serviceName":"t"}}
        "#,
        expect![[r#"
            422 Invalid: Deployment.apps "d" is invalid: [spec.selector: Required value, spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`] [FieldValueRequired@spec.selector, FieldValueInvalid@spec.template.metadata.labels]
            422 Invalid: Deployment.apps "d" is invalid: spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels` [FieldValueInvalid@spec.template.metadata.labels]
            201 .spec.replicas=1 .metadata.generation=1 .status={}
            422 Invalid: Deployment.apps "d" is invalid: [spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`, spec.selector: Invalid value: {"matchLabels":{"a":"b","z":"z"}}: field is immutable] [FieldValueInvalid@spec.template.metadata.labels, FieldValueInvalid@spec.selector] .details.kind="Deployment"
            200 .spec.template.spec.containers[].image=["i2","j"] .metadata.generation=2
            200 .metadata.generation=2
            201 .spec.replicas=1
            200 .spec.replicas=4
            422 Invalid: StatefulSet.apps "s" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden [FieldValueForbidden@spec]
        "#]],
    )
    .await;
}

#[tokio::test]
async fn pods_hardly_change() {
    check(
        r#"
        POST /api/v1/namespaces/default/pods {"metadata":{"name":"p"},"spec":{"serviceAccountName":"none","containers":[{"name":"c","image":"i"}]}}
        POST /api/v1/namespaces/default/pods {"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}} -> .status.phase .spec.serviceAccountName
        PATCH:strategic /api/v1/namespaces/default/pods/p {"spec":{"containers":[{"name":"c","image":"i2"}]}} -> .spec.containers[].image
        PATCH:strategic /api/v1/namespaces/default/pods/p {"spec":{"containers":[{"name":"c","command":["x"]}]}}
        PATCH:merge /api/v1/namespaces/default/pods/p {"spec":{"tolerations":[{"key":"k","operator":"Exists"}]}} -> .spec.tolerations
        PATCH:merge /api/v1/namespaces/default/pods/p {"spec":{"tolerations":[]}}
        PATCH:merge /api/v1/namespaces/default/pods/p {"spec":{"activeDeadlineSeconds":30}} -> .spec.activeDeadlineSeconds
        PATCH:merge /api/v1/namespaces/default/pods/p {"spec":{"nodeName":"n"}}
        "#,
        expect![[r#"
            403 Forbidden: pods "p" is forbidden: error looking up service account default/none: serviceaccount "none" not found
            201 .status.phase="Pending" .spec.serviceAccountName="default"
            200 .spec.containers[].image=["i2"]
            422 Invalid: Pod "p" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative) [FieldValueForbidden@spec]
            200 .spec.tolerations=[{"key":"k","operator":"Exists"}]
            422 Invalid: Pod "p" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative) [FieldValueForbidden@spec]
            200 .spec.activeDeadlineSeconds=30
            422 Invalid: Pod "p" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative) [FieldValueForbidden@spec]
        "#]],
    )
    .await;
}

#[tokio::test]
async fn storage_keeps_what_it_is() {
    check(
        r#"
        POST /api/v1/namespaces/default/persistentvolumeclaims {"metadata":{"name":"c"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}} -> .status.phase .spec.volumeMode
        PATCH:merge /api/v1/namespaces/default/persistentvolumeclaims/c {"spec":{"volumeName":"v"}} -> .spec.volumeName
        PATCH:merge /api/v1/namespaces/default/persistentvolumeclaims/c {"spec":{"volumeName":"w"}}
        PATCH:merge /api/v1/namespaces/default/persistentvolumeclaims/c {"spec":{"accessModes":["ReadOnlyMany"]}}
        PATCH:merge /api/v1/namespaces/default/persistentvolumeclaims/c {"spec":{"resources":{"requests":{"storage":"2Gi"}}}} -> .spec.resources.requests.storage
        PATCH:merge /api/v1/namespaces/default/persistentvolumeclaims/c {"spec":{"resources":{"requests":{"storage":"500Mi"}}}}
        POST /api/v1/persistentvolumes {"metadata":{"name":"v"},"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"]}}
        POST /api/v1/persistentvolumes {"metadata":{"name":"v"},"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],"hostPath":{"path":"/a"}}} -> .spec.persistentVolumeReclaimPolicy .status.phase
        PATCH:merge /api/v1/persistentvolumes/v {"spec":{"hostPath":{"path":"/b"}}}
        PATCH:merge /api/v1/persistentvolumes/v {"spec":{"claimRef":{"namespace":"default","name":"c"}}} -> .spec.claimRef.name
        POST /apis/storage.k8s.io/v1/storageclasses {"metadata":{"name":"s"},"provisioner":"p","parameters":{"a":"b"}} -> .reclaimPolicy .volumeBindingMode
        PATCH:merge /apis/storage.k8s.io/v1/storageclasses/s {"parameters":{"a":"c"}}
        PATCH:merge /apis/storage.k8s.io/v1/storageclasses/s {"provisioner":"q"}
        PATCH:merge /apis/storage.k8s.io/v1/storageclasses/s {"allowVolumeExpansion":true} -> .allowVolumeExpansion
        "#,
        expect![[r#"
            201 .status.phase="Pending" .spec.volumeMode="Filesystem"
            200 .spec.volumeName="v"
            422 Invalid: PersistentVolumeClaim "c" is invalid: spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims [FieldValueForbidden@spec]
            422 Invalid: PersistentVolumeClaim "c" is invalid: spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims [FieldValueForbidden@spec]
            200 .spec.resources.requests.storage="2Gi"
            422 Invalid: PersistentVolumeClaim "c" is invalid: spec.resources.requests.storage: Forbidden: field can not be less than previous value [FieldValueForbidden@spec.resources.requests.storage]
            422 Invalid: PersistentVolume "v" is invalid: spec: Required value: must specify a volume type [FieldValueRequired@spec]
            201 .spec.persistentVolumeReclaimPolicy="Retain" .status.phase="Pending"
            422 Invalid: PersistentVolume "v" is invalid: spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation [FieldValueForbidden@spec.persistentvolumesource]
            200 .spec.claimRef.name="c"
            201 .reclaimPolicy="Delete" .volumeBindingMode="Immediate"
            422 Invalid: StorageClass.storage.k8s.io "s" is invalid: parameters: Forbidden: updates to parameters are forbidden. [FieldValueForbidden@parameters]
            422 Invalid: StorageClass.storage.k8s.io "s" is invalid: provisioner: Forbidden: updates to provisioner are forbidden. [FieldValueForbidden@provisioner]
            200 .allowVolumeExpansion=true
        "#]],
    )
    .await;
}

#[tokio::test]
async fn configuration_that_is_sealed_stays() {
    check(
        r#"
        POST /api/v1/namespaces/default/secrets {"metadata":{"name":"s"},"stringData":{"k":"v"}} -> .data .stringData .type
        PATCH:merge /api/v1/namespaces/default/secrets/s {"type":"other"}
        PATCH:merge /api/v1/namespaces/default/secrets/s {"immutable":true} -> .immutable
        PATCH:merge /api/v1/namespaces/default/secrets/s {"stringData":{"k":"w"}}
        PATCH:merge /api/v1/namespaces/default/secrets/s {"immutable":null}
        PATCH:merge /api/v1/namespaces/default/secrets/s {"metadata":{"labels":{"a":"b"}}} -> .metadata.labels
        POST /api/v1/namespaces/default/secrets {"metadata":{"name":"t"},"type":"kubernetes.io/tls","data":{"tls.crt":""}}
        POST /api/v1/namespaces/default/secrets {"metadata":{"name":"t"},"type":"kubernetes.io/service-account-token"}
        POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"},"immutable":true,"data":{"k":"v"}} -> .immutable
        PATCH:merge /api/v1/namespaces/default/configmaps/c {"data":{"k":"w"}}
        POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"d"},"data":{"a b":"v"}}
        POST /apis/rbac.authorization.k8s.io/v1/clusterroles {"metadata":{"name":"system:x"},"rules":[]} -> .metadata.name
        POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings {"metadata":{"name":"x"},"roleRef":{"kind":"ClusterRole","name":"a"},"subjects":[{"kind":"User","name":"u"}]} -> .roleRef.apiGroup .subjects[].apiGroup
        PATCH:merge /apis/rbac.authorization.k8s.io/v1/clusterrolebindings/x {"roleRef":{"name":"b"}}
        POST /apis/scheduling.k8s.io/v1/priorityclasses {"metadata":{"name":"p"},"value":5} -> .value
        PATCH:merge /apis/scheduling.k8s.io/v1/priorityclasses/p {"value":6}
        "#,
        expect![[r#"
            201 .data={"k":"dg=="} .stringData=null .type="Opaque"
            422 Invalid: Secret "s" is invalid: type: Invalid value: "other": field is immutable [FieldValueInvalid@type]
            200 .immutable=true
            422 Invalid: Secret "s" is invalid: data: Forbidden: field is immutable when `immutable` is set [FieldValueForbidden@data]
            422 Invalid: Secret "s" is invalid: immutable: Forbidden: field is immutable when `immutable` is set [FieldValueForbidden@immutable]
            200 .metadata.labels={"a":"b"}
            422 Invalid: Secret "t" is invalid: data[tls.key]: Required value [FieldValueRequired@data[tls.key]]
            422 Invalid: Secret "t" is invalid: metadata.annotations[kubernetes.io/service-account.name]: Required value [FieldValueRequired@metadata.annotations[kubernetes.io/service-account.name]]
            201 .immutable=true
            422 Invalid: ConfigMap "c" is invalid: data: Forbidden: field is immutable when `immutable` is set [FieldValueForbidden@data]
            422 Invalid: ConfigMap "d" is invalid: data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+') [FieldValueInvalid@data[a b]]
            201 .metadata.name="system:x"
            201 .roleRef.apiGroup="rbac.authorization.k8s.io" .subjects[].apiGroup=["rbac.authorization.k8s.io"]
            422 Invalid: ClusterRoleBinding.rbac.authorization.k8s.io "x" is invalid: roleRef: Invalid value: {"kind":"ClusterRole","name":"b","apiGroup":"rbac.authorization.k8s.io"}: cannot change roleRef [FieldValueInvalid@roleRef]
            201 .value=5
            422 Invalid: PriorityClass.scheduling.k8s.io "p" is invalid: value: Forbidden: may not be changed in an update. [FieldValueForbidden@value]
        "#]],
    )
    .await;
}
