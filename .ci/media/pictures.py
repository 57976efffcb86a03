"""The parts of run.sh that need Pillow, boto3 or a terminal.

pictures.py make DIR COUNT            writes mixed pictures; prints how many there are, in all and by year, as JSON
pictures.py terminal COMMAND...       runs a command at a terminal of its own; prints what it showed
pictures.py bucket URL BUCKET         waits for an S3 server and makes a bucket
pictures.py compare URL BUCKET PREFIX DIR COUNT   holds the bucket against the folder
"""

import collections
import datetime
import hashlib
import json
import os
import pathlib
import pty
import sys
import time


def make(folder, count):
    from PIL import Image

    folder = pathlib.Path(folder)
    years = collections.Counter()
    for number in range(int(count)):
        below = folder / ["", "Urlaub", "Größe & Ümläute/tief", "DCIM/100"][number % 4]
        below.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (300 + number, 200), (number % 256, 90, 200))
        picture.putpixel((5, 5), (number % 251, number % 241, number % 239))
        form, extension = [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif"), ("TIFF", "tif")][number % 5]
        year = datetime.datetime.now(datetime.timezone.utc).year
        options = {}
        if form in ("JPEG", "WEBP") and number % 3:
            year = 2010 + number % 7
            exif = Image.Exif()
            exif[0x0110] = "Pillow One"
            exif.get_ifd(0x8769)[0x9003] = f"{year}:{1 + number % 12:02}:{1 + number % 28:02} 12:00:00"
            options["exif"] = exif
        picture.save(below / f"Bild {number}.{extension}", form, **options)
        years[str(year)] += 1
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.jpg").write_bytes((folder / "Bild 0.jpg").read_bytes())
    print(json.dumps({"pictures": int(count), "years": dict(years)}))


def terminal(*command):
    status = pty.spawn(list(command), lambda fd: os.read(fd, 65536).replace(b"\r", b"\n"))
    sys.exit(os.waitstatus_to_exitcode(status))


def client(url):
    import boto3

    keys = {"aws_access_key_id": "mana", "aws_secret_access_key": "secret"}
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)


def bucket(url, name):
    for _ in range(100):
        try:
            client(url).create_bucket(Bucket=name)
            return
        except Exception as error:  # noqa: BLE001: whatever it is, the last one is told
            last = error
            time.sleep(0.2)
    sys.exit(f"{last}")


def compare(url, name, prefix, folder, count):
    s3 = client(url)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=name)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    assert len(keys) == int(count), f"{len(keys)} objects instead of {count}"
    here = {
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in pathlib.Path(folder).rglob("*")
        if path.is_file() and path.suffix != ".txt" and not path.name.startswith(".")
    }
    there = set()
    for key in keys:
        assert key.startswith((f"{prefix}/sha256/", f"{prefix}/variants/")), key
        if "/sha256/" in key:
            body = s3.get_object(Bucket=name, Key=key)["Body"].read()
            assert hashlib.sha256(body).hexdigest() == key.rsplit("/", 1)[1], key
            there.add(key.rsplit("/", 1)[1])
    assert here == there, f"{len(here)} files, {len(there)} originals"


{"make": make, "terminal": terminal, "bucket": bucket, "compare": compare}[sys.argv[1]](*sys.argv[2:])
