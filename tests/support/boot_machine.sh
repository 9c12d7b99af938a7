#!/bin/sh
# Inside new namespaces: lay a throw-away copy over the host's root, and start an init in it.
#   boot_machine.sh PREPARE DIRECTORY:PLACE... -- INIT...
# PREPARE is fed to a shell inside, before the init starts. All mounts end with the init, and nothing of the host changes.
set -eu
prepare=$1
shift
mount --make-rprivate /
mount -t tmpfs -o size=2g machine /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work machine /mnt/root
cd /mnt/root

# A machine of its own: no identity, no log, no timers and no services but those that systemd itself brings.
: > etc/machine-id
rm -rf var/log/journal var/lib/systemd/timers etc/systemd/system/*
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket \
    systemd-udevd-kernel.socket systemd-journald-audit.socket systemd-modules-load.service systemd-sysctl.service \
    systemd-timesyncd.service systemd-networkd.service systemd-resolved.service; do
    ln -s /dev/null etc/systemd/system/$unit
done

mount -t proc proc proc
# What is set there holds for the whole computer.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid tmpfs dev
for device in null zero full random urandom tty; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755,nosuid tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
while [ "$1" != -- ]; do
    place=${1#*:}
    mkdir -p ".$place"
    mount --bind "${1%%:*}" ".$place"
    shift
done
shift
chroot . /bin/sh -eu < "$prepare"
mkdir -p .host
pivot_root . .host
umount -l /.host
# Without this the directories of LoadCredential= come up empty.
mount --make-rshared /
exec env -i container=test TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio "$@" < /dev/null
