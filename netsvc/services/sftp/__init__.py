"""sftp: files over SSH for virtual users, each in a directory of his own; no shell, no forwarding."""

from netsvc.kind import ServiceKind

KIND = ServiceKind(
    word="sftp",
    summary="Files over SSH: virtual users with keys or passwords, each jailed to a directory.",
    source="RFC 4251 to 4254, draft-ietf-secsh-filexfer-02",
    settings="netsvc.services.sftp.settings:SftpSettings",
    make_service="netsvc.services.sftp.service:make_service",
)
