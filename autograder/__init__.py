"""The course's instructor side: building, proving, grading."""

import sys

# jsonschema (nbformat's) imports it to check IRIs, of which notebooks have none. Building its grammar takes a second in
# every command and every worker: `lsml build --check` takes 1.85 s of CPU without it and 3.35 s with it.
sys.modules.setdefault("rfc3987_syntax", None)
