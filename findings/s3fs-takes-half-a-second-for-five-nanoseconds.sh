#!/usr/bin/env bash
# One would guess: `mtime` 1600000000.5 in an object's metadata, as rclone writes it, is half past that second for s3fs too,
# which keeps times under the same name in the same unit.
# What happens: s3fs reads the digits behind the point as a whole number of nanoseconds: 1600000000.000000005. Only nine
# digits mean the same for both; rclone drops the zeros at the end.
# Why it matters: a file copied by rclone and looked at through s3fs is up to a second older, and never equal again for a tool
# that compares exact times. A writer that wants both to read it right writes nine digits.
# Versions: s3fs 1.90 (Debian 12), moto 5.2.5, boto3 1.44.8. Needs root and /dev/fuse. Seen 2026-12-01.
. "$(dirname "$0")/support.sh"

[[ $(id -u) == 0 && -w /dev/fuse ]] || { echo "cannot be tried: needs root and /dev/fuse"; exit 2; }
mkdir "$folder/packages" "$folder/mounted"
(cd "$folder/packages" && apt-get download -qq s3fs libfuse2 >/dev/null 2>&1) ||
    { echo "cannot be tried: the packages of Debian cannot be had"; exit 2; }
for package in "$folder"/packages/*.deb; do dpkg -x "$package" "$folder/system"; done
install 'moto[server]==5.2.5' boto3==1.44.8
serve_moto
look <<'PYTHON'
from store import BUCKET, client

for mtime in ("1600000000.5", "1600000000.500000000"):
    client.put_object(Bucket=BUCKET, Key=mtime, Body=b"x", Metadata={"mtime": mtime, "mode": "33188"})
PYTHON
export AWSACCESSKEYID=accesskey AWSSECRETACCESSKEY=secretkey
export LD_LIBRARY_PATH=$(dirname "$(find "$folder/system" -name 'libfuse.so.2' | head -1)")
s3fs=$folder/system/usr/bin/s3fs
"$s3fs" --version | head -1
"$s3fs" bucket "$folder/mounted" -o "url=$AWS_ENDPOINT_URL,use_path_request_style"
unset LD_LIBRARY_PATH
seen=$(cd "$folder/mounted" && stat -c %.9Y 1600000000.5 1600000000.500000000 | paste -sd ' ') || true
umount "$folder/mounted"
expect "times of 1600000000.5 and 1600000000.500000000" "$seen" "1600000000.000000005 1600000000.500000000"
conclude
