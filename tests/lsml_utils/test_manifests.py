"""Kubernetes' bundled schema: what it accepts, what it finds, and how large it is."""

import json

from lsml_utils import manifests

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "a", "labels": {"app": "a"}, "annotations": {"description": "text"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "a"}},
        "template": {
            "metadata": {"labels": {"app": "a"}},
            "spec": {
                "containers": [
                    {
                        "name": "c",
                        "image": "i",
                        "ports": [{"containerPort": 80}],
                        "resources": {"limits": {"memory": "1Gi", "cpu": 2}},
                        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
                    }
                ]
            },
        },
    },
}


def test_valid_documents_pass():
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}}
    budget["spec"] = {"minAvailable": "50%", "selector": {"matchLabels": {"app": "a"}}}
    scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}}
    scaler["spec"] = {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "a"}}
    for document in (DEPLOYMENT, budget, scaler):
        assert manifests.schema_problems(document) == []


def test_misspelt_missing_and_mistyped_fields_are_found():
    def changed(**spec):
        document = json.loads(json.dumps(DEPLOYMENT))
        document["spec"] |= spec
        return manifests.schema_problems(document)

    assert changed(replcas=3) == ["spec: Additional properties are not allowed ('replcas' was unexpected)"]
    assert changed(replicas="3") == ["spec.replicas: '3' is not of type 'integer', 'null'"]
    assert changed(template={"spec": {}}) == ["spec.template.spec: 'containers' is a required property"]
    assert manifests.schema_problems({"apiVersion": "v1", "kind": "Deployment"}) == [
        "Kubernetes 1.37 has no kind Deployment in v1"
    ]
    assert manifests.schema_problems([]) == ["a manifest is a dictionary"]


def test_the_bundle_is_small_and_whole():
    assert manifests.FILE.stat().st_size < 40_000
    text = json.dumps(manifests._definitions())
    for name in {part.split('"')[0] for part in text.split("#/$defs/")[1:]}:
        assert name in manifests._definitions()
    assert len(manifests._kinds()) > 150
