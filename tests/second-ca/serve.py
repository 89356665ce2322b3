"""Starts acme2certifier (GPL-3.0, a test process only) for tests/second_ca.rs: over TLS on a port of its own, looking at
HTTP-01 and asking DNS on the ports that the test names. Everything else is as it comes from the package.

usage: serve.py PORT CERTIFICATE KEY HTTP_PORT DNS_PORT       (ACME_SRV_CONFIGFILE names its configuration)
Says a line for each request: method, path, and of newOrder what it replaces.
"""

import base64
import io
import json
import socketserver
import ssl
import sys
import wsgiref.simple_server

port, certificate, key, http_port, dns_port = sys.argv[1:6]

import dns.resolver
import requests

# Names are asked for at the test's own server, and port 80 of the loopback is the port of the server under test.
reset = dns.resolver.Resolver.reset


def reset_with_port(self):
    reset(self)
    self.port = int(dns_port)


dns.resolver.Resolver.reset = reset_with_port
get = requests.get
requests.get = lambda url, **more: get(url.replace("http://127.0.0.1/", f"http://127.0.0.1:{http_port}/"), **more)

from acme2certifier.share import acme2certifier_wsgi as server


def said(environ):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length)
    environ["wsgi.input"] = io.BytesIO(body)
    replaces = ""
    try:
        payload = json.loads(body)["payload"]
        replaces = json.loads(base64.urlsafe_b64decode(payload + "==")).get("replaces", "")
    except Exception:
        pass
    print(environ["REQUEST_METHOD"], environ["PATH_INFO"], replaces, flush=True)


def application(environ, start_response):
    environ["wsgi.url_scheme"] = "https"
    said(environ)
    return server.application(environ, start_response)


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *words):
        pass


listener = wsgiref.simple_server.make_server("127.0.0.1", int(port), application, Server, Quiet)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
print("listening", flush=True)
listener.serve_forever()
