"""netsvc-sendmail."""
