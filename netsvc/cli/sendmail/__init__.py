"""``netsvc-sendmail``: what programs know as /usr/sbin/sendmail, mailq and newaliases. Standard library only; fast."""
