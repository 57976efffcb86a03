"""Adds a bearer to every request: the conformance suite has no option for headers.

    proxy.py UPSTREAM TOKEN

Listens on a free port of 127.0.0.1, prints it, and passes everything on byte for byte, streams included.
`Host` and `Origin` stay as they came, because the suite checks what the server does with them.
"""

import http.client
import http.server
import socketserver
import sys
import urllib.parse

UPSTREAM = urllib.parse.urlsplit(sys.argv[1])
TOKEN = sys.argv[2]
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if length else None
        upstream = http.client.HTTPConnection(UPSTREAM.hostname, UPSTREAM.port, timeout=60)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP_BY_HOP | {"authorization"}:
                upstream.putheader(name, value)
        upstream.putheader("Authorization", f"Bearer {TOKEN}")
        upstream.endheaders(body)
        answer = upstream.getresponse()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        # The end of the connection is the end of the body, so that streams pass as they come.
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while chunk := answer.read1(65536):
                self.wfile.write(chunk)
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has seen enough
        finally:
            upstream.close()

    do_GET = do_POST = do_DELETE = do_OPTIONS = forward

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
