"""The harness of the cases: a node, a receiver of alerts, expectations and the report. Standard library only."""
