"""The outbound mail client: accepts messages locally, keeps them durably, delivers them."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="smtp_client",
    summary="Takes mail in over a UNIX socket, keeps it on disk and delivers it to a relay or a Maildir.",
    source="RFC 5321",
    settings="netsvc.services.smtp_client.settings:SmtpClientSettings",
    make_service="netsvc.services.smtp_client.service:make_service",
    runs="once",
)
