"""Execute, check and publish the notebooks. Never imported by a notebook."""

import sys

# nbformat's validator would compile a grammar for international addresses, which takes a second and which no notebook
# has any use for. jsonschema does without the package when it cannot be imported.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
