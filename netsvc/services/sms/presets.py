"""What is known of some gateways: each option of a preset can be overridden in the configuration. No I/O.

Sources: the gateways' public references. A code that is not listed here counts as a refusal.
"""

from __future__ import annotations

# preset -> option -> its text, as it would stand in the INI file
PRESETS: dict[str, dict[str, str]] = {
    "none": {},
    # The account is the APIID, the password the APIKEY. It takes numbers of mainland China.
    "ihuyi": {
        "url": "https://106.ihuyi.com/webservice/sms.php?method=Submit",
        "parameters": (
            "account = {account}\npassword = {password}\nmobile = {national}\ncontent = {text}\nformat = json"
        ),
        "success": "$.code == 2",
        "code": "$.code",
        "message_id": "$.smsid",
        "reason": "$.msg",
        # Account, key, balance, address, and too fast for one number: a person or time mends these.
        "codes": "2 -> sent\n401 402 405 4050 4051 4052 408 4081 -> retry",
    },
    # The account is the Account SID, the password the auth token.
    "twilio": {
        "url": "https://api.twilio.com/2010-04-01/Accounts/{account}/Messages.json",
        "parameters": "To = {number}\nFrom = {sender}\nBody = {text}",
        "auth": "basic",
        "success": "$.sid exists",
        "code": "$.code",
        "message_id": "$.sid",
        "reason": "$.message",
        "codes": "20003 20005 20429 21611 14107 -> retry",
    },
    # The account is the API key, the password the API secret.
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
        "codes": "0 -> sent\n1 4 8 9 10 11 -> retry\n5 -> ambiguous",
    },
    # Jasmin recodes what is GSM 7-bit itself; UCS-2 it wants as hexadecimal digits.
    "jasmin": {
        "url": "http://127.0.0.1:1401/send",
        "parameters": (
            "username = {account}\npassword = {password}\nto = {digits}\nfrom? = {sender}\n"
            "coding = {alphabet:0:8}\ncontent? = {alphabet:{text}:}\nhex-content? = {alphabet::{hex_utf16:{text}}}"
        ),
        "success": "body matches ^Success",
        "code": "http",
        "message_id": 'body /^Success "([^"]*)"/',
        "reason": 'body /^Error "([^"]*)"/',
        "codes": "412 -> retry",  # no route now
    },
    "kannel": {
        "url": "http://127.0.0.1:13013/cgi-bin/sendsms",
        "method": "GET",
        "encoding": "query",
        "parameters": (
            "username = {account}\npassword = {password}\nto = {number}\nfrom? = {sender}\n"
            "coding = {alphabet:0:2}\ncharset = UTF-8\ntext = {text}"
        ),
        "success": "body matches ^[03]:",  # accepted, or queued for later
        "reason": "body",
    },
}
