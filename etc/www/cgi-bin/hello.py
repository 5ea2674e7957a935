#!/usr/bin/env python3

print("Content-type:text/html")
print()
print("<html>")
print("<head>")
print('<meta charset="utf-8">')
print("<title>Hello</title>")
print("</head>")
print("<body>")
print("<h2>Hello, World!</h2>")
print("</body>")
print("</html>")
