"""Put the files of a tar archive on standard input under an S3 prefix of the emulator beside it.

tar -C model -c . | kubectl -n object-store exec -i deploy/object-store -- python /opt/put.py s3://models/iris/1/
"""

import sys
import tarfile
from urllib.parse import urlsplit

import boto3


def main(uri: str) -> None:
    """Create the bucket of `uri` when it is missing and upload each regular file below the prefix."""
    target = urlsplit(uri)
    store = boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:9000",
        region_name="us-east-1",
        aws_access_key_id="demo",
        aws_secret_access_key="demo",  # noqa: S106 - the emulator takes any credentials
    )
    store.create_bucket(Bucket=target.netloc)
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                key = target.path.strip("/") + "/" + member.name.removeprefix("./")
                store.put_object(Bucket=target.netloc, Key=key, Body=content.read())
                print(f"s3://{target.netloc}/{key}  {member.size} bytes")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
