"""Text messages: accepts them locally, keeps them durably, hands them to a gateway's HTTP API."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="sms",
    summary="Takes text messages in over a UNIX socket, keeps them on disk and hands them to an HTTP gateway.",
    source="GSM 03.38, 3GPP TS 23.040, E.164",
    settings="netsvc.services.sms.settings:SmsSettings",
    make_service="netsvc.services.sms.service:make_service",
    runs="once",
)
