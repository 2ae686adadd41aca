"""What the cases are run with: a node, a receiver of alerts, expectations and the report. Standard library only."""
