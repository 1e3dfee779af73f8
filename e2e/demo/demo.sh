#!/usr/bin/env bash
# Real MLflow model servers behind Headrace, with answers to look at. DEMO_ONCE=1 ends after the answers.
set -euo pipefail
cd "$(dirname "$0")/../.."
e2e/env.sh models
echo "building headrace"
go build -o bin/headrace .
.cache/py/models/bin/python e2e/models/build.py .cache/models
.cache/py/models/bin/python e2e/models/agents.py .cache/agents
exec .cache/py/models/bin/python e2e/demo/demo.py
