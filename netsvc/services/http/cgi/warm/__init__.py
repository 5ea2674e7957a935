"""The warm interpreter: Python scripts run in children of an interpreter that is there already."""
