"""The course's instructor side: building, proving, grading."""

import sys

# jsonschema (nbformat's) imports it to check IRIs, of which notebooks have none; its grammar takes 0.9 s to build, in
# every command and every worker.
sys.modules.setdefault("rfc3987_syntax", None)
