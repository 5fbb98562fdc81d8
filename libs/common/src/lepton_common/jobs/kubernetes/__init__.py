"""The launcher that has Kubernetes run the workers of jobs.

cluster.py     a namespace, through the API
informer.py    a copy of its Jobs, pods and events, kept up to date
sight.py       what of them matters
names.py       what the objects of a job are called
manifest.py    from a template and a launch to a Job
observing.py   from Jobs, pods and events to what is told of an attempt
suspension.py  Jobs that are to have no pods for a while
showing.py     what a Job shows of its job
sweep.py       pods on nodes that do not answer
capacity.py    what GPUs there are
launcher.py    the port, made of these
election.py    which of several replicas follows the jobs
"""

from lepton_common.jobs.kubernetes.cluster import Cluster
from lepton_common.jobs.kubernetes.election import lead
from lepton_common.jobs.kubernetes.launcher import KubernetesLauncher
from lepton_common.jobs.kubernetes.manifest import owned, read_template
from lepton_common.jobs.kubernetes.sight import SeenJob

__all__ = ["Cluster", "KubernetesLauncher", "SeenJob", "lead", "owned", "read_template"]
