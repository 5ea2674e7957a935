"""What is known of some gateways: each option of a preset can be overridden in the configuration. No I/O.

A code that is not listed here counts as a refusal. Each preset names the documents that it was checked against, and
what could not be checked.
"""

from __future__ import annotations

# preset -> option -> its text, as it would stand in the INI file
PRESETS: dict[str, dict[str, str]] = {
    "none": {},
    # The account is the APIID, the password the APIKEY. It takes numbers of mainland China.
    # "短信验证码/通知 - API文档", www.ihuyi.com/api/sms.html, for the parameters. Of its table of codes only what
    # clients quote of it could be read: 400 address not allowed, 401 and 402 account or password missing, 405 wrong,
    # 4050 account frozen, 40501 dynamic password expired, 4051 nothing left on the account, 4052 other address than was
    # registered, 408 a limit that a person lifts, 4080 more than one a second to one number: a person or time mends
    # these. What it pushes as a receipt could not be read at all; there is none in this preset.
    "ihuyi": {
        "url": "https://106.ihuyi.com/webservice/sms.php?method=Submit",
        "parameters": (
            "account = {account}\npassword = {password}\nmobile = {national}\ncontent = {text}\nformat = json"
        ),
        "success": "$.code == 2",
        "code": "$.code",
        "message_id": "$.smsid",
        "reason": "$.msg",
        "codes": "2 -> sent\n400 401 402 405 4050 40501 4051 4052 408 4080 -> retry",
    },
    # The account is the Account SID, the password the auth token.
    # "Error and Warning Dictionary", www.twilio.com/docs/api/errors: 20003 authentication, 20005 account not active,
    # 20429 too many requests (with Retry-After), 21611 the sender's queue is full. Statuses: "Outbound Message Status
    # in Status Callbacks", twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks, and "Messages
    # resource", www.twilio.com/docs/messaging/api/message-resource.
    "twilio": {
        "url": "https://api.twilio.com/2010-04-01/Accounts/{account}/Messages.json",
        "parameters": "To = {number}\nFrom = {sender}\nBody = {text}\nStatusCallback? = {receipt_url}",
        "auth": "basic",
        "success": "$.sid exists",
        "code": "$.code",
        "message_id": "$.sid",
        "reason": "$.message",
        "codes": "20003 20005 20429 21611 -> retry",
        "receipt_id": "$.MessageSid",
        "receipt_status": "$.MessageStatus",
        "receipt_reason": "$.ErrorCode",
        "receipt_signature": "twilio",
        "receipts": "delivered read -> delivered\nundelivered failed canceled -> failed",
        "poll_url": "https://api.twilio.com/2010-04-01/Accounts/{account}/Messages/{message_id}.json",
        "poll_status": "$.status",
        "poll_reason": "$.error_code",
    },
    # The account is the API key, the password the API secret.
    # "API Errors", developer.vonage.com/api-errors/sms: 1 throttled, 4 credentials, 5 internal error, 8 account
    # suspended, 9 no credit, 10 too many connections. "Delivery receipts", developer.vonage.com/messaging/sms/guides/
    # delivery-receipts: a long message has a receipt for each part, and that of the first part counts here. Where
    # receipts go is set in Vonage's dashboard; they are signed only when its support was asked for that.
    "vonage": {
        "url": "https://rest.nexmo.com/sms/json",
        "parameters": (
            "api_key = {account}\napi_secret = {password}\nfrom = {sender}\nto = {digits}\ntext = {text}\n"
            "type = {alphabet:text:unicode}"
        ),
        "success": "$.messages[*].status == 0",
        "code": "$.messages[*].status",
        "message_id": "$.messages[*].message-id",
        "reason": "$.messages[*].error-text",
        "codes": "0 -> sent\n1 4 8 9 10 -> retry\n5 -> ambiguous",
        "receipt_id": "$.messageId",
        "receipt_status": "$.status",
        "receipt_reason": "$.err-code",
        "receipts": "delivered -> delivered\nexpired failed rejected -> failed\nunknown -> unknown",
    },
    # Jasmin recodes what is GSM 7-bit itself; UCS-2 it wants as hexadecimal digits.
    # "HTTP API", docs.jasminsms.com, in the repository jookies/jasmin misc/doc/sources/apis/http/index.rst: 400 and 403
    # as HTTP has them, 412 no route now, 500 it could not be queued (its log says more). The statuses of receipts are
    # those that its jasmin/managers/content.py and dlr.py know; it calls again until it hears ACK/Jasmin.
    "jasmin": {
        "url": "http://127.0.0.1:1401/send",
        "parameters": (
            "username = {account}\npassword = {password}\nto = {digits}\nfrom? = {sender}\n"
            "coding = {alphabet:0:8}\ncontent? = {alphabet:{text}:}\nhex-content? = {alphabet::{hex_utf16:{text}}}\n"
            "dlr? = {receipts:yes}\ndlr-url? = {receipt_url}\ndlr-level? = {receipts:2}\ndlr-method? = {receipts:POST}"
        ),
        "success": "body matches ^Success",
        "code": "http",
        "message_id": 'body /^Success "([^"]*)"/',
        "reason": 'body /^Error "([^"]*)"/',
        "codes": "412 -> retry",
        "receipt_id": "$.id",
        "receipt_status": "$.message_status",
        "receipt_reason": "$.err",
        "receipts": "DELIVRD -> delivered\nEXPIRED DELETED UNDELIV REJECTD -> failed\nUNKNOWN -> unknown",
        "receipt_thanks": "ACK/Jasmin",
    },
    # "Kannel User's Guide", "SMS Push reply codes" and "Delivery Reports", in the repository pruiz/kannel
    # doc/userguide/userguide.xml: 202 with "0: Accepted for delivery" or "3: Queued for later delivery", 4xx never, 503
    # try again. It names no message, so that our {id} does; the types of reports are 1 delivered, 2 not, 16 refused.
    "kannel": {
        "url": "http://127.0.0.1:13013/cgi-bin/sendsms",
        "method": "GET",
        "encoding": "query",
        "parameters": (
            "username = {account}\npassword = {password}\nto = {number}\nfrom? = {sender}\n"
            "coding = {alphabet:0:2}\ncharset = UTF-8\ntext = {text}\n"
            "dlr-mask? = {receipts:19}\ndlr-url? = {receipts:{receipt_url}?id={id}&type=%d}"
        ),
        "success": "body matches ^[03]:",
        "reason": "body",
        "receipt_id": "$.id",
        "receipt_status": "$.type",
        "receipts": "1 -> delivered\n2 16 -> failed",
    },
}
