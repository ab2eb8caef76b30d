"""What to try once the demo has run: commands that work as they stand.

What this module must not do: run them.
"""

from pathlib import Path

from examples.census.report import Reach

PYTHON = ".venv/bin/python"
STORE = "app.kubernetes.io/component=store"


def next_steps(reach: Reach, programs: Path, namespace: str, model: str) -> str:
    """The text that a kept demo ends with."""
    return f"""
How to reach it (also in .demo/summary.json)
  export KUBECONFIG={reach.kubeconfig}
  export PATH=$PATH:{programs}   # kubectl and helm, if you have none
  export MODELWARDEN_URL={reach.url} MODELWARDEN_KEY={reach.key}
  tables: {reach.tables}

What to try next
  kubectl -n {namespace} describe mmodel {model}              # what the operator knows, and why
  kubectl explain mmodel.spec.monitoring                    # every field is described
  .venv/bin/modelwarden status                              # what the model's server says of itself
  .venv/bin/modelwarden drift RELP AGEP SCHL --by month     # the same numbers, by HTTP
  .venv/bin/modelwarden query '{{"select": [{{"function": "auc"}}], "rollup": "month"}}'   # how right it was
  .venv/bin/modelwarden performance --rollup month          # and how right it is thought to be
  .venv/bin/modelwarden fairness SEX                        # how differently groups are treated
  .venv/bin/modelwarden hotspots --threshold 0.7            # where it fails
  kubectl -n {namespace} get pods,hpa                           # the store, and the server that explains
  kubectl -n {namespace} describe enrich                        # what is trained, and how far it is
  kubectl -n {namespace} patch mmodel {model} --type merge \\
    -p '{{"spec":{{"monitoring":{{"driftThreshold":0.5}}}}}}'     # a threshold is a setting: nothing restarts
  kubectl -n {namespace} get mmodel --watch                      # ... and DRIFTED changes
  kubectl -n {namespace} delete pod -l {STORE}   # no row is lost
  {PYTHON} -c "import deltalake; print(deltalake.DeltaTable('{reach.tables}/inferences').to_pandas().head())"
  make demo-down                                            # removes all of it
"""
