#!/usr/bin/env python3
"""Writes and removes the records of DNS-01 at Cloudflare. Needs Python 3 and nothing else.

    acme_dns_provider cloudflare {
        exec lego /etc/semper/hooks/cloudflare.py;
        exec_env CF_DNS_API_TOKEN file:/etc/semper/cloudflare.token;
    }

The token needs Zone:Read and DNS:Edit for the zone. Called as lego calls its own: present|cleanup FQDN VALUE.
CF_API_BASE: another place for the API, for tests.
"""
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request

BASE = os.environ.get("CF_API_BASE", "https://api.cloudflare.com/client/v4")


def call(method, path, query=None, body=None):
    url = BASE + path + ("?" + urllib.parse.urlencode(query) if query else "")
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    request.add_header("Authorization", "Bearer " + os.environ["CF_DNS_API_TOKEN"].strip())
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        answer = json.loads(error.read() or b"{}")
        # Cloudflare says 81058 for a record that stands already.
        if any(said.get("code") == 81058 for said in answer.get("errors", [])):
            return None
        sys.exit(f"{method} {path}: {error.code} {answer.get('errors')}")
    if not answer.get("success"):
        sys.exit(f"{method} {path}: {answer.get('errors')}")
    return answer["result"]


def zone_of(name):
    labels = name.split(".")
    for start in range(len(labels) - 1):
        found = call("GET", "/zones", {"name": ".".join(labels[start:]), "status": "active"})
        if found:
            return found[0]["id"]
    sys.exit(f"no zone of this token is above {name}")


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("present", "cleanup"):
        sys.exit("usage: cloudflare.py present|cleanup FQDN VALUE")
    what, name, value = sys.argv[1], sys.argv[2].rstrip("."), sys.argv[3]
    records = f"/zones/{zone_of(name)}/dns_records"
    if what == "present":
        call("POST", records, body={"type": "TXT", "name": name, "content": f'"{value}"', "ttl": 120})
        return
    for record in call("GET", records, {"type": "TXT", "name": name}):
        if record["content"].strip('"') == value:
            call("DELETE", f"{records}/{record['id']}")


main()
