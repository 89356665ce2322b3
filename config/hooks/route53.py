#!/usr/bin/env python3
"""Writes and removes the records of DNS-01 at Amazon Route 53. Needs Python 3 and nothing else.

    acme_dns_provider route53 {
        exec lego /etc/semper/hooks/route53.py;
        exec_env AWS_ACCESS_KEY_ID file:/etc/semper/aws.id;
        exec_env AWS_SECRET_ACCESS_KEY file:/etc/semper/aws.secret;
    }

The key needs route53:ListHostedZonesByName, ListResourceRecordSets and ChangeResourceRecordSets. Called as lego calls its
own: present|cleanup FQDN VALUE. AWS_SESSION_TOKEN is honoured. AWS_HOSTED_ZONE_ID saves the search for the zone.
ROUTE53_ENDPOINT: another place for the API, for tests.
"""
import datetime
import hashlib
import hmac
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as xml

ENDPOINT = os.environ.get("ROUTE53_ENDPOINT", "https://route53.amazonaws.com")
SPACE = "{https://route53.amazonaws.com/doc/2013-04-01/}"


def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def call(method, path, query=(), body=b""):
    """One request, signed by AWS Signature Version 4."""
    host = urllib.parse.urlsplit(ENDPOINT).netloc
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    day, region = now[:8], "us-east-1"
    headers = {"host": host, "x-amz-date": now}
    if os.environ.get("AWS_SESSION_TOKEN"):
        headers["x-amz-security-token"] = os.environ["AWS_SESSION_TOKEN"].strip()
    encode = lambda text: urllib.parse.quote(text, safe="-_.~")
    query = "&".join(f"{encode(name)}={encode(value)}" for name, value in sorted(query))
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        [method, path, query]
        + [f"{name}:{headers[name]}" for name in sorted(headers)]
        + ["", names, hashlib.sha256(body).hexdigest()]
    )
    scope = f"{day}/{region}/route53/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"].strip()).encode()
    for part in (day, region, "route53", "aws4_request"):
        key = sign(key, part)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    identity = os.environ["AWS_ACCESS_KEY_ID"].strip()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={identity}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    url = ENDPOINT + path + ("?" + query if query else "")
    request = urllib.request.Request(url, data=body or None, method=method, headers=headers)
    if body:
        request.add_header("Content-Type", "application/xml")
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return xml.fromstring(response.read())
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")
        sys.exit(f"{method} {path}: {error.code} {said[:300]}")


def zone_of(name):
    given = os.environ.get("AWS_HOSTED_ZONE_ID")
    if given:
        return given.strip()
    labels = name.split(".")
    for start in range(len(labels) - 1):
        wanted = ".".join(labels[start:]) + "."
        answer = call("GET", "/2013-04-01/hostedzonesbyname", [("dnsname", wanted), ("maxitems", "5")])
        for zone in answer.iter(SPACE + "HostedZone"):
            private = zone.findtext(f"{SPACE}Config/{SPACE}PrivateZone") == "true"
            if zone.findtext(SPACE + "Name") == wanted and not private:
                return zone.findtext(SPACE + "Id").rsplit("/", 1)[-1]
    sys.exit(f"no public zone of this account is above {name}")


def values_of(zone, name):
    query = [("name", name + "."), ("type", "TXT"), ("maxitems", "1")]
    answer = call("GET", f"/2013-04-01/hostedzone/{zone}/rrset", query)
    for records in answer.iter(SPACE + "ResourceRecordSet"):
        if records.findtext(SPACE + "Name").rstrip(".") == name and records.findtext(SPACE + "Type") == "TXT":
            return [value.text for value in records.iter(SPACE + "Value")], records.findtext(SPACE + "TTL")
    return [], "60"


def change(zone, name, action, values, ttl):
    records = "".join(f"<ResourceRecord><Value>{value}</Value></ResourceRecord>" for value in values)
    body = (
        f'<ChangeResourceRecordSetsRequest xmlns="{SPACE[1:-1]}"><ChangeBatch><Changes><Change>'
        f"<Action>{action}</Action><ResourceRecordSet><Name>{name}.</Name><Type>TXT</Type><TTL>{ttl}</TTL>"
        f"<ResourceRecords>{records}</ResourceRecords></ResourceRecordSet></Change></Changes></ChangeBatch>"
        "</ChangeResourceRecordSetsRequest>"
    )
    call("POST", f"/2013-04-01/hostedzone/{zone}/rrset", body=body.encode())


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("present", "cleanup"):
        sys.exit("usage: route53.py present|cleanup FQDN VALUE")
    what, name, value = sys.argv[1], sys.argv[2].rstrip("."), f'"{sys.argv[3]}"'
    zone = zone_of(name)
    # Others may have values at the same name (a wildcard and its base have): they stay.
    values, ttl = values_of(zone, name)
    if what == "present" and value not in values:
        change(zone, name, "UPSERT", values + [value], ttl)
    elif what == "cleanup" and value in values:
        rest = [other for other in values if other != value]
        change(zone, name, "UPSERT" if rest else "DELETE", rest or values, ttl)


main()
