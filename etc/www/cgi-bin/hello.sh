#!/bin/sh
# The shell can do it, too. What comes from the peer is escaped before it is shown.
who=$(printf '%s' "${QUERY_STRING#name=}" | tr '+' ' ' | sed 's/&.*//; s/%[0-9A-Fa-f][0-9A-Fa-f]/?/g; s/</\&lt;/g; s/>/\&gt;/g')

printf 'Content-Type: text/html; charset=utf-8\n\n'
cat <<END
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>hello.sh</title>
<h1>Hello, ${who:-World}!</h1>
<p>It is $(date -u '+%Y-%m-%d %H:%M:%S') UTC.</p>
</html>
END
